"""Fetch a published data set and turn it into a chip folder: python data_scripts/fetch.py neon_trees"""

import argparse
import sys


def main(arguments=None):
    parser = argparse.ArgumentParser(description="Fetch a published data set and turn it into a chip folder.")
    parser.add_argument("name", help="data set of the catalogue, for example neon_trees")
    name = parser.parse_args(arguments).name

    from geodl_course.datasets import make
    from geodl_course.datasets.download import entry, fetch

    try:
        source = entry(name)
        fetch(name)
        print(f"{source['title']}. Licence: {source['licence']}. Cite: {source['citation']}", file=sys.stderr)
        print(make(name))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"fetch.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
