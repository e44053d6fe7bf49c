"""How long `import geodl_course` takes: python tests/benchmarks/import_time.py

Wall time inside a fresh interpreter, median of several; torch in it would be a fault.
"""

import statistics
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys, time
started = time.perf_counter()
import geodl_course
print(time.perf_counter() - started, "torch" in sys.modules)
"""


def measure(repeats=9):
    """(median seconds, whether torch came along)."""
    command = [sys.executable, "-c", PROGRAM]
    answers = [
        subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True).stdout.split()
        for _ in range(repeats)
    ]
    return statistics.median(float(seconds) for seconds, _ in answers), answers[0][1] == "True"


if __name__ == "__main__":
    seconds, torch_loaded = measure()
    print(f"import geodl_course: {seconds:.4f} s (at most 0.2), torch {'loaded' if torch_loaded else 'not loaded'}")
