"""``python -m flowcraft`` is the command ``flowcraft``."""

from flowcraft.cli import entry

if __name__ == "__main__":
    entry()
