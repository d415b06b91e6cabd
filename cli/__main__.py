"""`python -m cli`: what the launcher and the supervisor start."""

from cli.main import main

if __name__ == "__main__":
    main()
