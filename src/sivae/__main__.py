"""`python -m sivae`."""

from sivae.cli import main

if __name__ == "__main__":
    main()
