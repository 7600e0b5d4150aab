"""One file per command: a parser and ``main(args=None)``, no logic."""
