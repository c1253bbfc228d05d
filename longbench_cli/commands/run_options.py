"""The options of ``longbench run`` that say what to sweep and how to measure it.

All default to None, so that what was not given is known; :func:`longbench_cli.sweep.options.resolve`
puts the profile and the defaults under them. The help states those defaults.
"""

from __future__ import annotations

from functools import partial
from typing import Annotated

import typer

_sweep = partial(typer.Option, rich_help_panel="What to sweep", show_default=False)
_impl = partial(typer.Option, rich_help_panel="Options of an implementation", show_default=False)
_model = partial(typer.Option, rich_help_panel="Options of a model", show_default=False)
_measure = partial(typer.Option, rich_help_panel="How to measure", show_default=False)

Text = str | None
Number = float | None
Whole = int | None

Profile = Annotated[
    Text,
    _sweep("--profile", metavar="NAME|FILE.toml", help="Take options from a profile; the command line goes over it."),
]
Impl = Annotated[
    Text,
    _sweep(
        "--impl", metavar="NAMES", help="Attentions and models, or yours: package.module:function (default: dilated)."
    ),
]
Backend = Annotated[
    Text, _sweep("--backend", metavar="NAMES", help="Kernel back ends; auto is the fastest supported (default: auto).")
]
Seq = Annotated[
    Text,
    _sweep(
        "--seq",
        metavar="AXIS",
        help="Sequence lengths in tokens: 8k:1b doubles; 8k:1b:x4; 8k:64k:+8k; 8k,10000. "
        "k, m and b are 2^10, 2^20 and 2^30 (default: 8k:64k).",
    ),
]
Batch = Annotated[Text, _sweep("--batch", metavar="AXIS", help="Sequences in a batch (default: 1).")]
Tokens = Annotated[
    Text, _sweep("--tokens", metavar="AXIS", help="Tokens in a batch, instead of --batch: batch = tokens / seq.")
]
Heads = Annotated[Text, _sweep("--heads", metavar="AXIS", help="Query heads (default: 8).")]
KvHeads = Annotated[
    Text, _sweep("--kv-heads", metavar="AXIS", help="Key and value heads (default: as many as --heads).")
]
HeadDim = Annotated[Text, _sweep("--head-dim", metavar="AXIS", help="Features of a head (default: 64).")]
Dtype = Annotated[Text, _sweep("--dtype", metavar="NAMES", help="fp32, fp16, bf16 (default: bf16).")]
Causal = Annotated[
    Text,
    _sweep(
        "--causal",
        metavar="true|false|both",
        help="Whether a query is kept from later keys; a model always is (default: false).",
    ),
]
Pass = Annotated[
    Text, _sweep("--pass", metavar="NAMES", help="fwd, bwd, fwd+bwd; of a model also step (default: fwd).")
]
Gpus = Annotated[
    Text,
    _sweep(
        "--gpus",
        metavar="AXIS",
        help="Ranks that share a sequence, or the batch of a model: GPUs, or processes on a CPU (default: 1).",
    ),
]
Scaling = Annotated[
    Text,
    _sweep(
        "--scaling",
        metavar="strong|weak",
        help="strong: --seq is shared by the ranks; weak: it is what each rank has (of a model: --batch is), so that "
        "the whole grows with --gpus (default: strong).",
    ),
]
Device = Annotated[
    Text,
    _sweep(
        "--device",
        metavar="NAMES",
        help="cpu, cuda, or auto: cuda if there is one or --gpus asks for several (default: auto).",
    ),
]

Parallel = Annotated[
    Text,
    _impl(
        "--parallel",
        metavar="NAMES",
        help="Of vanilla on several ranks: ring, zigzag, ulysses, allgather (default: ring).",
    ),
]
Schedule = Annotated[
    Text,
    _impl("--schedule", metavar="NAMES", help="Segments by length: geometric, lm, runtime (default: geometric)."),
]
Segments = Annotated[
    Text,
    _impl("--segments", metavar="LIST", help="Segment lengths in tokens, instead of --schedule; with --dilations."),
]
Dilations = Annotated[Text, _impl("--dilations", metavar="LIST", help="Dilation rates, one for each segment length.")]
Offsets = Annotated[
    Text,
    _impl(
        "--offsets", metavar="NAMES", help="Phases of heads: paper, or grouped as the authors' code (default: paper)."
    ),
]
MixingGradient = Annotated[
    Text,
    _impl("--mixing-gradient", metavar="NAMES", help="Through the mixing weights: exact, detached (default: exact)."),
]

Pattern = Annotated[Text, _impl("--pattern", metavar="NAMES", help="Of sparse: strided, fixed (default: strided).")]
Stride = Annotated[
    Text, _impl("--stride", metavar="AXIS", help="Of sparse: l in tokens, window and stride (default: sqrt of seq).")
]
Columns = Annotated[
    Text,
    _impl(
        "--columns",
        metavar="AXIS",
        help="Of fixed: last columns of a block that all later ones see (default: 8).",
    ),
]
MatchFlops = Annotated[
    Text,
    _impl(
        "--match-flops",
        metavar="NAMES",
        help="Of sparse: dilated, for the stride whose pairs come nearest to those of dilated's default schedule.",
    ),
]
Window = Annotated[
    Text,
    _impl("--window", metavar="AXIS", help="Of sliding-window: tokens seen to a side, own included (default: 256)."),
]

Preset = Annotated[
    Text,
    _model("--preset", metavar="NAMES", help="Sizes: 125m, 350m, 760m, 2.7b; instead of --heads, --head-dim, --depth."),
]
Depth = Annotated[Text, _model("--depth", metavar="AXIS", help="Layers (default: 2).")]
FfMult = Annotated[
    Text, _model("--ff-mult", metavar="AXIS", help="Width of the feed-forward over the model's (default: 4).")
]
Vocab = Annotated[Text, _model("--vocab", metavar="AXIS", help="Number of token ids (default: 256).")]
FeedForward = Annotated[Text, _model("--feed-forward", metavar="NAMES", help="swiglu, gelu (default: swiglu).")]
QkNorm = Annotated[
    Text, _model("--qk-norm", metavar="true|false|both", help="Normalise queries and keys (default: false).")
]
ParallelBlock = Annotated[
    Text,
    _model(
        "--parallel-block", metavar="true|false|both", help="Attention and feed-forward side by side (default: false)."
    ),
]
AttentionOf = Annotated[
    Text,
    _model(
        "--attention",
        metavar="NAMES",
        help="Of transformer: vanilla, sparse, sliding-window (default: vanilla).",
    ),
]
BlockWidth = Annotated[
    Text, _model("--block-width", metavar="AXIS", help="Of block-recurrent: tokens of a block (default: 512).")
]
States = Annotated[Text, _model("--states", metavar="AXIS", help="Of block-recurrent: state vectors (default: 512).")]
CompressedMemory = Annotated[
    Text,
    _model("--compressed-memory", metavar="AXIS", help="Of block-recurrent: compressed memories kept (default: none)."),
]
Bptt = Annotated[
    Text,
    _model("--bptt", metavar="AXIS", help="Of block-recurrent: blocks that gradients go back through (default: all)."),
]
Levels = Annotated[
    Text,
    _model(
        "--levels",
        metavar="LIST",
        help="Of hierarchical: COMPRESSION:STRIDE:WINDOW[:DIM[:HEADS[:HEAD_DIM[:FF_MULT]]]] a level, "
        "a window being tokens, full or 0 for none (default: 1:1:256,4:4:256,16:16:256).",
    ),
]

MaxPointTime = Annotated[
    Number,
    _measure(
        "--max-point-time",
        metavar="SECONDS",
        help="Prune a point whose iteration would take longer (default: 60, and no limit for what can be streamed).",
    ),
]
MaxTime = Annotated[Number, _measure("--max-time", metavar="SECONDS", help="Sampling time of a point (default: 10).")]
Precision = Annotated[
    Number,
    _measure(
        "--precision",
        metavar="SHARE",
        help="Stop when the 95% interval of the median is within this share of it (default: 0.01).",
    ),
]
MinIterations = Annotated[
    Whole,
    _measure("--min-iterations", metavar="N", help="Least iterations, where one takes less than 1 s (default: 10)."),
]
MaxIterations = Annotated[
    Whole, _measure("--max-iterations", metavar="N", help="Most iterations of a point (default: 10000).")
]
Seed = Annotated[Whole, _measure("--seed", metavar="N", help="Seed of the inputs (default: 0).")]
Threads = Annotated[Whole, _measure("--threads", metavar="N", help="CPU threads (default: all physical cores).")]
Timeout = Annotated[
    Number,
    _measure(
        "--timeout",
        metavar="SECONDS",
        help="Kill a point after this long, others' turns not counted (default: from its predicted time).",
    ),
]
Stream = Annotated[
    bool | None,
    _measure(
        "--stream",
        help="Stream every point that can be, inputs made chunk by chunk; without it, those that would take "
        "more than a quarter of the free memory (default: false).",
    ),
]
Chunk = Annotated[
    Text, _measure("--chunk", metavar="TOKENS", help="Most tokens of a streamed chunk (default: from free memory).")
]
Cache = Annotated[
    Text,
    _measure(
        "--cache",
        metavar="cold|hot",
        help="cold: overwrite the last-level cache before each iteration; hot: do not; what is streamed "
        "is always hot (default: cold on a GPU, hot on a CPU).",
    ),
]
Graphs = Annotated[
    Text,
    _measure(
        "--graphs",
        metavar="auto|on|off",
        help="Replay iterations as CUDA graphs; auto: where launching takes longer than running (default: auto).",
    ),
]
Order = Annotated[
    Text,
    _measure(
        "--order",
        metavar="interleaved|sequential",
        help="interleaved: the implementations of one length take turns, so that the machine's drift hits all alike; "
        "sequential: one after another (default: interleaved).",
    ),
]
Sessions = Annotated[
    Whole,
    _measure(
        "--sessions",
        metavar="K",
        help="Fresh processes to measure each point in, spread over the sweep; intervals then hold between processes "
        "(default: 1).",
    ),
]
NoPrune = Annotated[
    bool | None, _measure("--no-prune", help="Start every point, whatever is predicted of it (default: false).")
]
Budget = Annotated[
    Text,
    _measure(
        "--budget",
        metavar="TIME",
        help="End in this time, e.g. 90s, 20m, 2h: the cheapest points first; what does not fit is recorded as "
        "pruned, and measured by a --resume, with this much time again (default: no limit).",
    ),
]
