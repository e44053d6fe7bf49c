"""Make a data set in the data folder, unless it is there: python data_scripts/make.py towns"""

import argparse
import sys


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Make a data set in the data folder, unless it is there.")
    parser.add_argument("name", help="data set, for example towns")
    name = parser.parse_args(arguments).name

    from geodl_course.datasets import make

    try:
        print(make(name))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"make.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
