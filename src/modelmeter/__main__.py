"""`python -m modelmeter` is the same program as `modelmeter`."""

from modelmeter.cli import main

if __name__ == "__main__":
    main()
