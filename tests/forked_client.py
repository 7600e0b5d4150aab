"""Stands for the command of a step, as a worker starts it: has ``forked_steps.py`` carry it out, and ends as it ends.

python forked_client.py SOCKET -m nnactive_ext.cli.PROGRAM WORDS
"""

from __future__ import annotations

import json
import os
import socket
import sys

if __name__ == "__main__":
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(sys.argv[1])
        asked = {"module": sys.argv[3], "words": sys.argv[4:], "environment": dict(os.environ), "worker": os.getppid()}
        server.sendall(json.dumps(asked).encode() + b"\n")
        answer = json.loads(server.makefile().read() or '{"status": 1, "said": "The process was killed."}')
    print(answer["said"])
    raise SystemExit(answer["status"])
