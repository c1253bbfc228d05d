from pathlib import Path

import pytest

from longbench_cli.errors import UsageError
from longbench_cli.sweep import hardware
from longbench_cli.sweep import options as options_module
from longbench_cli.sweep.options import resolve
from longbench_cli.sweep.plan import make_plan
from longbench_cli.sweep.profile import load_profile, profile_names


def profile(folder: Path, text: str, name: str = "mine.toml") -> str:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refusal(**cli: object) -> str:
    with pytest.raises(UsageError) as caught:
        make_plan(resolve({"device": "cpu", **cli}))
    message = str(caught.value)
    assert "\n" not in message
    return message


def test_the_command_line_goes_over_the_profile_and_that_over_the_defaults(tmp_path: Path) -> None:
    file = profile(tmp_path, 'device = "cpu"\nheads = 4\nhead_dim = [32, "64"]\nmax_time = 2\n')
    resolved = resolve({"profile": file, "heads": "16", "seq": None})
    assert resolved.values.heads == [16]
    assert resolved.values.head_dim == [32, 64]
    assert resolved.values.seq == [8192, 16384, 32768, 65536]
    assert resolved.settings.max_time == 2.0
    assert resolved.settings.precision == 0.01
    assert resolved.sources["heads"] == "command line"
    assert resolved.sources["head_dim"] == resolved.sources["max_time"] == f"profile {file}"
    assert resolved.sources["seq"] == "default"


def test_axes_read_alike_from_toml_and_from_the_command_line(tmp_path: Path) -> None:
    file = profile(
        tmp_path,
        'device = "cpu"\nimpl = ["dilated", "vanilla"]\nseq = ["1k:4k", 10000]\ncausal = [true, false]\n'
        'pass = "fwd,bwd"\ndtype = "fp16,float32"\nsegments = ["2k", 4096]\ndilations = [1, 2]\n',
    )
    from_line = resolve(
        {
            "impl": "dilated,vanilla",
            "seq": "1k:4k,10000",
            "causal": "true,false",
            "pass_": "fwd,bwd",
            "dtype": "float16,fp32",
            "segments": "2k,4k",
            "dilations": "1,2",
            "device": "cpu",
        }
    )
    assert resolve({"profile": file}).values == from_line.values
    assert from_line.values.dtype == ["float16", "float32"]


def test_the_other_way_of_saying_it_above_replaces_the_one_below(tmp_path: Path) -> None:
    file = profile(tmp_path, 'device = "cpu"\nseq = "1k"\ntokens = "64k"\nschedule = "lm"\n')
    [point] = make_plan(resolve({"profile": file, "batch": "3", "segments": "512", "dilations": "2"})).points
    assert point.case.batch == 3
    assert point.case.options["schedule"] is None
    assert point.details == {"segments": [512], "dilations": [2], "coverage": [0.5]}


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("haeds = 4", ("mine.toml: haeds", "did you mean heads")),
        ("max_time = 'fast'", ("mine.toml: max_time 'fast'", "number")),
        ("max_time = '2'", ("mine.toml: max_time '2'", "number")),
        ("min_iterations = 2.5", ("mine.toml: min_iterations 2.5", "integer")),
        ("heads = 2.5", ("mine.toml: heads 2.5", "whole number")),
        ("seq = true", ("mine.toml: seq 'true'", "whole number")),
        ("seq = []", ("mine.toml: seq is empty",)),
        ("seq = '8k:'", ("mine.toml: seq '8k:'", "START:END")),
        ("seed = -1", ("mine.toml: seed -1", "greater than or equal to 0")),
        ("description = 3", ("mine.toml: description 3", "string")),
        ("batch = 1\ntokens = 4096", ("mine.toml: batch", "mine.toml: tokens", "exclude each other")),
        ("kv_heads = 3", ("mine.toml: kv_heads 3", "8 heads")),
        ("seq 8k", ("mine.toml: not valid TOML", "line 1")),
    ],
)
def test_a_slip_in_a_profile_is_named_by_file_and_key(tmp_path: Path, text: str, parts: tuple[str, ...]) -> None:
    message = refusal(profile=profile(tmp_path, text))
    for part in parts:
        assert part in message


def test_a_profile_that_is_not_there_or_not_text(tmp_path: Path) -> None:
    assert "did you mean quick?" in refusal(profile="quik")
    assert "No such file" in refusal(profile=str(tmp_path / "none.toml"))
    assert "Is a directory" in refusal(profile=f"{tmp_path}/")
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    assert "UTF-8" in refusal(profile=str(binary))


@pytest.mark.parametrize(
    ("cli", "parts"),
    [
        ({"schedule": "lm", "segments": "2k"}, ("--schedule and --segments exclude each other",)),
        ({"batch": "2", "tokens": "1m"}, ("--batch and --tokens exclude each other",)),
        ({"segments": "2k"}, ("--segments", "go together")),
        ({"segments": "2k,4k", "dilations": "1"}, ("--segments, --dilations", "2 segment lengths, 1 dilation")),
        ({"schedule": "lmm"}, ("--schedule", "geometric, lm, runtime")),
        ({"offsets": "mine"}, ("--offsets", "paper or grouped")),
        ({"mixing_gradient": "none"}, ("--mixing-gradient", "exact or detached")),
        ({"impl": "vanilla", "schedule": "lm"}, ("--schedule", "(vanilla)", "(dilated")),
        ({"impl": "nothing.here:f"}, ("--impl nothing.here:f", "No module named")),
        ({"impl": "vanila"}, ("--impl vanila", "choose from", "dilated", "vanilla")),
        ({"heads": "8", "kv_heads": "3"}, ("--kv-heads 3", "8 heads (--heads)")),
        ({"tokens": "8k", "seq": "16k"}, ("--tokens 8k", "16k")),
        ({"tokens": "8k", "seq": "4k,3000"}, ("--tokens 8k", "3000")),
        ({"dtype": "fp8"}, ("--dtype 'fp8'", "bf16")),
        ({"max_time": 0.0}, ("--max-time 0.0", "greater than 0")),
        ({"min_iterations": 20, "max_iterations": 5}, ("--min-iterations 20", "--max-iterations 5")),
        ({"seq": "1:1000:+1", "heads": "1:1000:+1"}, ("1,000,000 points",)),
        ({"kernel": "x"}, ("--kernel", "no such option")),
    ],
)
def test_values_that_do_not_fit_are_named_by_their_option(cli: dict[str, object], parts: tuple[str, ...]) -> None:
    message = refusal(**cli)
    for part in parts:
        assert part in message


def test_a_profiles_option_may_idle_when_the_command_line_chooses_another_implementation(tmp_path: Path) -> None:
    file = profile(tmp_path, 'device = "cpu"\nimpl = "dilated"\nschedule = "lm"\nseq = "1k"\n')
    [point] = make_plan(resolve({"profile": file, "impl": "vanilla"})).points
    assert point.case.options == {"parallel": None}
    idle = profile(tmp_path, 'device = "cpu"\nimpl = "vanilla"\nschedule = "lm"\n', "idle.toml")
    assert "idle.toml: schedule" in refusal(profile=idle)


def test_device_auto_is_cuda_only_where_torch_sees_one_or_several_gpus_are_asked_for(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(options_module, "detect_device", lambda: "cpu")
    assert resolve({}).devices == ("cpu",)
    assert resolve({"device": "auto,cpu"}).devices == ("cpu",)
    assert resolve({"gpus": "1,8"}).devices == ("cuda",)
    assert resolve({"gpus": "8", "device": "cpu"}).devices == ("cpu",)
    monkeypatch.setattr(options_module, "detect_device", lambda: "cuda")
    assert resolve({}).devices == ("cuda",)


def test_without_torch_the_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    assert hardware.detect_device() == "cpu"


@pytest.mark.parametrize("name", profile_names())
def test_every_shipped_profile_plans_and_describes_itself(name: str) -> None:
    assert len(load_profile(name).description) > 20
    plan = make_plan(resolve({"profile": name, "device": "cpu"}))
    assert plan.points
    assert plan.profile == name


def test_the_shipped_profiles_are_these() -> None:
    assert profile_names() == ["ci", "paper-lm", "paper-runtime", "quick"]
