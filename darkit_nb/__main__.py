"""`python -m darkit_nb`: the command line where no script was installed."""

from darkit_nb.cli import main

if __name__ == "__main__":
    main()
