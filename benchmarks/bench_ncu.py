"""How long ``nsightkit classify`` takes on a report of 51 kernels, beside a bare process that reads the same metrics.

In: optionally a report; by default the one of 51 kernels among the shared captures. Out: medians of whole processes,
run in turn. The bare process loads the report with NVIDIA's reader and takes every metric that our counters need.
"""

import json
import sys
import tempfile
from pathlib import Path

from nsightkit import metrics
from paired import measure, report

SHARED = Path(__file__).resolve().parents[2] / "shared" / "data" / "ncu-rep" / "rtx4080s-kyber-51k.ncu-rep"
NSIGHTKIT = str(Path(sys.executable).with_name("nsightkit"))
BARE = """
import json, sys, ncu_report
names = json.load(open(sys.argv[2]))
rows = []
for part in ncu_report.load_report(sys.argv[1]):
    for action in part:
        found = ((name, action.metric_by_name(name)) for name in names)
        rows.append({name: metric.as_double() for name, metric in found if metric is not None and metric.has_value()})
print(len(rows))
"""
READ = """
import sys
from pathlib import Path
from nsightkit.ingest import ncu_report
print(len(ncu_report.read((Path(sys.argv[1]),), {"kernel_counters": None}).tables["kernel_counters"]["failed"]))
"""

if __name__ == "__main__":
    capture = sys.argv[1] if len(sys.argv) > 1 else str(SHARED)
    if not Path(capture).is_file():
        sys.exit(f"no report at {capture}; name one on the command line")
    with tempfile.TemporaryDirectory() as folder:
        names = Path(folder) / "names.json"
        names.write_text(json.dumps(sorted(metrics.needed_names())))
        costs = measure(
            {
                "bare process, ncu_report": [sys.executable, "-c", BARE, capture, str(names)],
                "python, our reader alone": [sys.executable, "-c", READ, capture],
                "nsightkit classify": [NSIGHTKIT, "classify", capture],
            },
            rounds=15,
        )
    report("classify a report of 51 kernels", costs, "within 3 × the bare process")
