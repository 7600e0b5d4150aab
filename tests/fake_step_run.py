"""nnactive_run with members that cost nothing, as a worker starts it: ``python fake_step_run.py OPTIONS``."""

import sys
from pathlib import Path
from uuid import UUID

sys.path.insert(0, str(Path(__file__).parent))

from fake_members import fake_tools

import nnactive_ext.cli.run as run_command
from nnactive_ext.experiment import marks
from nnactive_ext.members.tools import Tools

if __name__ == "__main__":
    marks.uuid.uuid4 = lambda: UUID(int=7)
    run_command.prepare = lambda device: None
    Tools.of_nnunet = classmethod(lambda cls, device, prepare=None: fake_tools())
    run_command.main(sys.argv[1:])
