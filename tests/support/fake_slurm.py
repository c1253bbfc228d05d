"""A Slurm of two nodes that are both this machine: ``sbatch`` and ``srun`` that do what real ones would."""

from __future__ import annotations

import sys
from pathlib import Path

SBATCH = """#!/bin/sh
export SLURM_JOB_ID={job}
(bash "$1" > {folder}/script.out; echo $? > {folder}/ended) > /dev/null 2>&1 < /dev/null &
echo "Submitted batch job {job}"
"""

SRUN = """#!{python}
import os, subprocess, sys
words = sys.argv[1:]
while words[0].startswith("--"):
    words = words[1:] if words[0] == "--unbuffered" else words[2:]
tasks = []
for node in range(2):
    own = dict(SLURM_JOB_NUM_NODES="2", SLURM_NODEID=str(node), SLURM_PROCID=str(node), SLURM_LOCALID="0",
               SLURM_NTASKS="2", SLURM_JOB_NODELIST="localhost")
    with open(f"{folder}/node-{{node}}", "w") as printed:
        tasks.append(subprocess.Popen(words, env=os.environ | own, stdout=printed, stderr=subprocess.STDOUT))
sys.exit(max(task.wait() for task in tasks))
"""


def install(folder: Path, job: int) -> Path:
    """Write both to ``folder``, for the front of a PATH; gives the file that the job's exit code will be in."""
    folder.mkdir()
    for name, text in {"sbatch": SBATCH, "srun": SRUN}.items():
        (folder / name).write_text(text.format(job=job, folder=folder, python=sys.executable))
        (folder / name).chmod(0o755)
    return folder / "ended"
