"""One file per command: a parser and ``main(args=None)``, no logic.

A new command goes here; what it does goes into the room that owns it. The settings of ``nnactive_plan`` are declared in
``planning/``.
"""
