"""``python -m engine`` is ``roomcast``."""

from engine.cli import main

main()
