"""``python -m longbench_cli``: the same as the ``longbench`` script."""

from longbench_cli.app import main

if __name__ == "__main__":
    main()
