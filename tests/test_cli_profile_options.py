"""The options of ``nsightkit profile``: what each makes of the command line, and what is refused."""

import json
import shlex

import pytest
from click.testing import CliRunner

from fake_tools.install import VERSIONS, calls, install
from nsightkit.capture.shells import command_line
from nsightkit.capture.workload import find_command, find_workload
from nsightkit.cli import cli
from nsightkit.run import Capture, Run, RunInfo


def profile(*args):
    return CliRunner().invoke(cli, ["profile", *args])


def dry(tool, *args):
    done = profile("work.py", "--tool", tool, "--dry-run", "-o", "r", *args)
    assert done.exit_code == 0, done.output
    return shlex.split(done.stdout)


def value(words, option):
    return words[words.index(option) + 1]


class TestNsysLines:
    @pytest.mark.parametrize(
        ("args", "expected"),
        [
            (("--range", "decode"), ["--capture-range=nvtx", "--nvtx-capture=decode", "--capture-range-end=stop",
                                     "--env-var=NSYS_NVTX_PROFILER_REGISTER_ONLY=0"]),
            (("--range", "decode", "--repeat", "3"), ["--capture-range=nvtx", "--capture-range-end=repeat:3"]),
            (("--gate", "cudaProfilerApi"), ["--capture-range=cudaProfilerApi", "--capture-range-end=stop"]),
            (("--window", "30:5"), ["--delay=30", "--duration=5", "--kill=sigterm"]),
            (("--window", "1m:500s"), ["--delay=60", "--duration=500"]),
            (("--window", "0:2"), ["--delay=0", "--duration=2"]),
            (("--python-stacks",), ["--sample=process-tree", "--cudabacktrace=all", "--python-backtrace=cuda"]),
            (("--extra-nsys", "--trace=cuda"), ["--trace=cuda"]),
        ],
    )  # fmt: skip
    @pytest.mark.parametrize("version", VERSIONS["nsys"])
    def test_option(self, here, bin_dir, version, args, expected):
        install(bin_dir, "nsys", version)
        words = dry("nsys", *args)
        assert [word for word in expected if word not in words] == []
        # nsys takes no option twice.
        names = [word.partition("=")[0] for word in words[3:] if word.startswith("--")]
        assert len(names) == len(set(names))

    def test_gpu_metrics_under_the_name_of_the_release(self, here, bin_dir):
        install(bin_dir, "nsys", "2023.4.4.54")
        assert "--gpu-metrics-device=all" in dry("nsys", "--gpu-metrics")
        install(bin_dir, "nsys", "2026.1.1.204")
        assert "--gpu-metrics-devices=all" in dry("nsys", "--gpu-metrics")

    def test_whole_run_is_the_default(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        assert not [word for word in dry("nsys") if word.startswith(("--capture-range", "--delay", "--duration"))]


class TestNcuLines:
    def test_command_of_document_000(self, here, bin_dir):
        install(bin_dir, "ncu", "2026.1.0.0")
        words = dry("ncu", "--set", "full", "--replay-mode", "kernel", "--launch-skip", "50", "--launch-count", "5",
                    "--", "--phase=decode", "--max_new_tokens=1")  # fmt: skip
        assert value(words, "--set") == "full"
        assert value(words, "--target-processes") == "all"
        assert value(words, "--replay-mode") == "kernel"
        assert value(words, "--launch-skip") == "50"
        assert value(words, "--launch-count") == "5"
        assert "--force-overwrite" in words
        assert words[-2:] == ["--phase=decode", "--max_new_tokens=1"]

    @pytest.mark.parametrize(
        ("args", "option", "expected"),
        [
            (("--range", "decode"), "--nvtx-include", "decode/"),
            (("--range", "a/b*c"), "--nvtx-include", r"a\/b\*c/"),
            (("--range", "decode@my/lib"), "--nvtx-include", r"my\/lib@decode/"),
            (("--range", "decode", "--repeat", "2"), "--range-filter", "no::1|2"),
            (("--gate", "cudaProfilerApi"), "--profile-from-start", "off"),
            (("--kernel", "gemm.*bf16"), "--kernel-name", "regex:gemm.*bf16"),
            (("--kernel", "gemm"), "--kernel-name-base", "demangled"),
            (("--metrics", "a.sum,b.avg"), "--metrics", "a.sum,b.avg"),
            (("--section", "Occupancy"), "--section", "Occupancy"),
            (("--clock-control", "none"), "--clock-control", "none"),
            (("--cache-control", "none"), "--cache-control", "none"),
            ((), "--set", "detailed"),
        ],
    )
    def test_option(self, here, bin_dir, args, option, expected):
        install(bin_dir, "ncu", "2024.1.1.0")
        assert value(dry("ncu", *args), option) == expected

    def test_metrics_alone_bring_no_set(self, here, bin_dir):
        install(bin_dir, "ncu", "2024.1.1.0")
        assert "--set" not in dry("ncu", "--metrics", "a.sum")

    def test_metrics_are_those_of_the_gpu(self, here, bin_dir):
        install(bin_dir, "ncu", "2026.1.0.0")
        smi = bin_dir / "nvidia-smi"
        smi.write_text("#!/bin/sh\necho '0, NVIDIA H100, 9.0, 550.54, Disabled'\n", encoding="utf-8")
        smi.chmod(0o755)
        words = dry("ncu")
        metrics = value(words, "--metrics").split(",")
        assert "sm__ops_path_tensor_op_hgmma_src_bf16_dst_fp32_sparsity_off.sum.peak_sustained" in metrics
        assert "dram__bytes.sum" in metrics
        assert "--set" not in words


class TestRefused:
    @pytest.mark.parametrize(
        ("args", "text"),
        [
            (("--range", "a", "--window", "1:2"), "--range and --window both say which part is captured"),
            (("--window", "1:2", "--tool", "ncu"), "--window does not go with --tool ncu: ncu knows no window"),
            (("--range", "a", "--tool", "torch"), "--range does not go with --tool torch: torch.profiler records"),
            (("--gate", "cudaProfilerApi", "--tool", "nsys+ncu"), "--window and --gate do not go with nsys+ncu"),
            (("--window", "5"), "is not DELAY:DURATION"),
            (("--window", "5:0"), "is no time above 0"),
            (("--timeout", "soon"), "is no time above 0; write 90, 90s, 10m or 1h"),
            (("--coverage", "0"), "is no share"),
            (("--coverage", "110%"), "is no share"),
            (("--repeat", "0"), "not in the range"),
            (("--shell", "fish"), "'fish' is not one of"),
        ],
    )
    def test_is_wrong_usage(self, here, args, text):
        done = profile("work.py", *args)
        assert done.exit_code == 2
        assert text in done.stderr


class TestDefaults:
    def test_of_the_project_are_taken_and_can_be_overruled(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        (here / "pyproject.toml").write_text('[tool.nsightkit]\ntool = "nsys"\nrange = "decode"\ntokens = 7\n')
        done = profile("work.py", "--dry-run", "--range", "prefill")
        assert done.exit_code == 0, done.output
        assert "--nvtx-capture=prefill" in done.stdout
        assert "--max-new-tokens 7" in done.stdout

    def test_of_a_parent_folder(self, here, bin_dir, monkeypatch):
        install(bin_dir, "ncu", "2026.1.0.0")
        (here / "pyproject.toml").write_text('[tool.nsightkit]\nclock-control = "none"\n')
        (here / "deep").mkdir()
        monkeypatch.chdir(here / "deep")
        done = profile("../work.py", "--tool", "ncu", "--dry-run")
        assert "--clock-control none" in done.stdout

    def test_unknown_key_is_named(self, here):
        (here / "pyproject.toml").write_text("[tool.nsightkit]\ntokns = 7\n")
        done = profile("work.py")
        assert done.exit_code == 2
        assert "has 'tokns', which is no option of nsightkit profile; did you mean tokens?" in done.stderr

    @pytest.mark.parametrize(("line", "kept"), [("no-render = true", True), ("no-tokens = true", False)])
    def test_only_switches_have_a_negative_key(self, here, line, kept):
        (here / "pyproject.toml").write_text(f"[tool.nsightkit]\n{line}\n")
        assert (profile("work.py", "--dry-run", "--tool", "torch").exit_code == 0) is kept

    def test_damaged_file_is_named(self, here):
        (here / "pyproject.toml").write_text("[tool.nsightkit\n")
        assert "cannot be read as TOML" in profile("work.py").stderr

    @pytest.mark.parametrize(
        ("line", "said"),
        [
            ("tokens = true", "tokens = True, which is not a whole number"),
            ("tokens = '4'", "tokens = '4', which is not a whole number"),
            ("repeat = 2.5", "repeat = 2.5, which is not a whole number"),
            ("dry-run = 3", "dry-run = 3, which is not true or false"),
            ("render = 'no'", "render = 'no', which is not true or false"),
            ("metrics = ['a', 'b']", "metrics = ['a', 'b'], which is not a text or a number"),
            ("timeout = true", "timeout = True, which is not a text or a number"),
            ("extra-nsys = '--x'", "extra-nsys = '--x', which is not a list"),
            ("extra-nsys = [3]", "extra-nsys = [3], which is not a list"),
            ("range = { a = 1 }", "range = {'a': 1}, which is not a text or a number"),
            ("tokens = 0", "tokens = 0: 0 is not in the range x>=1"),
            ("coverage = 90", "coverage = 90: '90' is no share; write 90% or 0.9"),
            ("clock-control = 'off'", "clock-control = 'off': 'off' is not one of"),
            ("range = ''", "range = '': it is empty; leave the option out instead"),
        ],
    )
    def test_value_of_another_type_is_named_with_its_file(self, here, line, said):
        (here / "pyproject.toml").write_text(f"[tool.nsightkit]\n{line}\n")
        done = profile("work.py", "--dry-run", "--tool", "torch")
        assert done.exit_code == 2
        assert f"pyproject.toml: [tool.nsightkit] has {said}" in done.stderr

    @pytest.mark.parametrize("line", ["timeout = 4", "timeout = '4s'", "overhead = false", "extra-nsys = ['--x']"])
    def test_values_of_the_right_type(self, here, line):
        (here / "pyproject.toml").write_text(f"[tool.nsightkit]\n{line}\n")
        assert profile("work.py", "--dry-run", "--tool", "torch").exit_code == 0

    @pytest.mark.parametrize("text", ["tool = 3\n", "[tool]\nnsightkit = 3\n"])
    def test_no_table(self, here, text):
        (here / "pyproject.toml").write_text(text)
        done = profile("work.py", "--dry-run", "--tool", "torch")
        assert done.exit_code == (2 if "nsightkit" in text else 0)
        assert not isinstance(done.exception, AttributeError)


class TestUseless:
    """An option that the tool would ignore is refused: the capture would be another than was asked for."""

    @pytest.mark.parametrize(
        ("tool", "words", "said"),
        [
            ("nsys", ("--kernel", "gemm"), "--kernel does not go with --tool nsys"),
            ("torch", ("--metrics", "a"), "--metrics does not go with --tool torch: it is for ncu"),
            ("torch", ("--extra-nsys=--x",), "--extra-nsys does not go with --tool torch: it is for nsys"),
            ("ncu", ("--python-stacks",), "--python-stacks does not go with --tool ncu: it is for nsys"),
            ("ncu", ("--gpu-metrics",), "--gpu-metrics does not go with --tool ncu: it is for nsys"),
            ("nsys", ("--budget", "5m"), "--budget does not go with --tool nsys: it is for nsys+ncu"),
            ("nsys", ("--clock-control", "none"), "--clock-control does not go with --tool nsys"),
            ("nsys+ncu", ("--launch-skip", "3"), "with nsys+ncu the timeline chooses the launches"),
            ("nsys+ncu", ("--repeat", "3"), "--repeat does not go with --tool nsys+ncu: it repeats one tool"),
            ("nsys+ncu", ("--replay-mode", "app-range"), "--replay-mode app-range does not go with nsys+ncu"),
            ("ncu", ("--replay-mode", "range", "--kernel", "x"), "--replay-mode range does not go with --kernel"),
        ],
    )
    def test_is_refused(self, here, tool, words, said):
        done = profile("work.py", "--dry-run", "--tool", tool, *words)
        assert done.exit_code == 2
        assert said in done.stderr

    def test_default_of_the_project_may_stand_for_another_tool(self, here):
        (here / "pyproject.toml").write_text("[tool.nsightkit]\nclock-control = 'none'\nkernel = 'x'\n")
        assert profile("work.py", "--dry-run", "--tool", "torch").exit_code == 0

    @pytest.mark.parametrize("option", ["--range", "--kernel", "--metrics", "--set", "--section"])
    def test_empty_words_mean_nothing(self, here, option):
        done = profile("work.py", "--tool", "ncu", "--dry-run", option, "")
        assert done.exit_code == 2
        assert f"'{option}': it is empty" in done.stderr

    def test_resume_without_a_run(self, here):
        done = profile("work.py", "--tool", "torch", "--resume")
        assert done.exit_code == 2
        assert "name it with -o" in done.stderr

    def test_resume_of_another_workload_keeps_its_tables(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        first = ("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        assert profile(*first).exit_code == 0
        (here / "other.py").write_text("", encoding="utf-8")
        before = (here / "r" / "run.json").read_bytes()
        done = profile("other.py", *first[1:], "--resume")
        assert done.exit_code == 1
        assert "r is a run of work; repeat that command" in done.stderr
        assert (here / "r" / "run.json").read_bytes() == before
        assert profile(*first, "--resume").exit_code == 0

    def test_tokens_for_what_decodes_nothing(self, here):
        done = profile("layer_similarity", "--tool", "torch", "--dry-run", "--tokens", "4")
        assert done.exit_code == 2
        assert "layer_similarity decodes nothing" in done.stderr
        line = profile("layer_similarity", "--tool", "torch", "--dry-run").stdout
        assert "--results" in line
        assert "--warmup-iters" not in line

    def test_deepen_has_no_choice_of_launches(self):
        assert "--kernel" not in CliRunner().invoke(cli, ["deepen", "--help"]).stdout


class TestAnyProgram:
    def test_runs_as_it_is(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2026.1.1.204")
        done = profile("--tool", "nsys", "-o", "r", "--no-render", "--no-overhead", "--", "echo", "-n", "hello there")
        assert done.exit_code == 0, done.output
        assert calls(record)[-1][-3:] == ["echo", "-n", "hello there"]
        assert Run(here / "r").read_info().workload == "echo"

    def test_python_and_a_script_can_also_run_under_torch(self, here, bin_dir):
        words = shlex.split(profile("--tool", "torch", "--dry-run", "--", "python3", "work.py", "-x").stdout)
        assert words[1] == "python3"
        assert words[-2:] == ["work.py", "-x"]

    def test_other_programs_cannot(self, here, bin_dir):
        done = profile("--tool", "torch", "--", "echo", "hello")
        assert done.exit_code == 1
        assert "'echo' is no Python script" in done.stderr

    def test_program_that_is_not_there(self, here, bin_dir):
        done = profile("--tool", "nsys", "--", "no-such-program")
        assert done.exit_code == 1
        assert "'no-such-program' is no program on PATH" in done.stderr


class TestRepeat:
    def test_runs_of_the_workload(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--repeat", "3")
        assert done.exit_code == 0, done.output
        assert len([words for words in calls(record) if "--output" in words]) == 3
        captures = Run(here / "r").read_info().captures
        assert [capture.capture_id for capture in captures] == ["timeline-run1", "timeline-run2", "timeline-run3"]
        assert "spread over 3 captures: kernels 3 to 3, kernel time 15.0 ns to 15.0 ns, wall time " in done.stdout

    def test_instances_of_a_range_in_one_run(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--range", "decode", "--repeat", "2")
        assert done.exit_code == 0, done.output
        assert len([words for words in calls(record) if "--output" in words]) == 1
        first, second = Run(here / "r").read_info().captures
        assert first.scope.startswith("work, the first 2 instances of the NVTX range decode")
        # Both are of one process: its wall time says nothing of either.
        assert "kernel time 15.0 ns to 15.0 ns, range decode 700 ns to 700 ns\n" in done.stdout
        # What is compared with a run without the profiler is a whole one: such runs would be for nothing.
        assert not list((here / "r" / "capture").glob("untraced*"))
        assert any("it is cold" in text for text in first.quality["reasons"])
        assert not any("it is cold" in text for text in second.quality["reasons"])


class TestOverhead:
    def test_is_measured_and_kept(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render")
        assert done.exit_code == 0, done.output
        (capture,) = Run(here / "r").read_info().captures
        assert capture.overhead["basis"] == "wall time of the process"
        assert (capture.overhead["untraced_count"], capture.overhead["traced_count"]) == (3, 1)
        assert capture.overhead["low"] <= capture.overhead["middle"] <= capture.overhead["high"]
        assert "ran with" in (here / "r" / "capture" / "untraced.log").read_text()
        assert "overhead: " in done.stdout

    @pytest.mark.torch
    def test_bundled_workload_is_timed_by_its_own_steps(self, here):
        small = ("--layers", "1", "--width", "32", "--heads", "2", "--prompt-len", "4", "--threads", "1")
        done = profile("--tool", "torch", "--tokens", "8", "-o", "r", "--no-render", "--no-ceilings", "--", *small)
        assert done.exit_code == 0, done.output
        (capture,) = Run(here / "r").read_info().captures
        assert capture.overhead["basis"] == "wall time of the decode steps"
        assert capture.overhead["untraced_count"] == 5
        assert capture.overhead["part_count"] == 4
        assert capture.overhead["low"] <= capture.overhead["high"]
        # The run without the profiler comes first: it warms the caches of the file system.
        logs = {name: (here / "r" / "capture" / f"{name}.log").stat().st_mtime_ns for name in ("untraced", "child")}
        assert logs["untraced"] < logs["child"]

    def test_a_missing_tool_is_said_before_anything_runs(self, here, bin_dir):
        done = profile("work.py", "--tool", "nsys", "-o", "r")
        assert done.exit_code == 1
        assert not (here / "r").exists()

    def test_ratio_that_cannot_be_is_not_known(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        # The first run, without the profiler, is the slow one.
        (here / "work.py").write_text(
            "import pathlib, time\np = pathlib.Path('once')\nif not p.exists(): time.sleep(3)\np.touch()\n"
        )
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render")
        (capture,) = Run(here / "r").read_info().captures
        assert capture.overhead["ratio"] is None
        assert capture.overhead["low"] < 1
        assert "overhead: not measurable: " in done.stdout
        assert "the overhead of tracing is not measurable here" in done.stdout

    def test_can_be_left_out(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        (capture,) = Run(here / "r").read_info().captures
        assert capture.overhead == {}
        assert capture.quality == {"verdict": "good", "reasons": [], "remedies": []}


class TestQualityOfARun:
    def test_is_printed_first_and_kept(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render")
        assert done.stdout.startswith("capture quality of timeline: unusable\n  no kernels: no GPU was traced")
        (capture,) = Run(here / "r").read_info().captures
        assert capture.quality["verdict"] == "unusable"
        assert "    remedy: run it where there is a GPU" in done.stdout

    def test_names_others_on_the_gpu(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        smi = bin_dir / "nvidia-smi"
        smi.write_text(
            "#!/bin/sh\ncase $1 in *compute-apps*) echo '4242424, /usr/bin/train';; esac\n", encoding="utf-8"
        )
        smi.chmod(0o755)
        profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        (capture,) = Run(here / "r").read_info().captures
        assert capture.quality["reasons"] == ["other processes were on the GPU: /usr/bin/train (4242424)"]


class TestResume:
    def test_does_not_repeat_what_is_there(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        args = ("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead", "--repeat", "2")
        assert profile(*args).exit_code == 0
        made = len([words for words in calls(record) if "--output" in words])
        (here / "r" / "capture" / "timeline-run2.sqlite").unlink()
        (here / "r" / "run.json").unlink()
        done = profile(*args, "--resume")
        assert done.exit_code == 0, done.output
        assert len([words for words in calls(record) if "--output" in words]) == made + 1
        assert len(Run(here / "r").read_info().captures) == 2

    def test_another_command_is_refused(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--resume", "--tokens", "9")
        assert done.exit_code == 1
        assert "captured with another command" in done.stderr


class TestRanks:
    def test_each_rank_has_its_own_run_and_names(self, here, bin_dir, monkeypatch):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        monkeypatch.setenv("WORLD_SIZE", "2")
        for rank in ("0", "1"):
            monkeypatch.setenv("RANK", rank)
            done = profile("work.py", "--tool", "nsys", "-o", "job", "--no-render", "--no-overhead")
            assert done.exit_code == 0, done.output
        infos = [Run(here / "job" / f"rank{rank}").read_info() for rank in (0, 1)]
        assert [(info.rank, info.rank_count) for info in infos] == [(0, 2), (1, 2)]
        assert [info.captures[0].capture_id for info in infos] == ["timeline-rank0", "timeline-rank1"]
        assert infos[1].captures[0].settings["launcher"] == "torchrun"

    def test_default_directory_has_the_rank_in_its_name(self, here, bin_dir, monkeypatch):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        monkeypatch.setenv("SLURM_PROCID", "3")
        monkeypatch.setenv("SLURM_NTASKS", "4")
        profile("work.py", "--tool", "nsys", "--no-render", "--no-overhead")
        (path,) = (here / "reports").iterdir()
        assert path.name.startswith("work-rank3-2")


class TestFaults:
    @pytest.mark.parametrize(
        ("tool", "behavior", "args", "slug", "text"),
        [
            ("nsys", "no-range", ("--range", "decoed"), "range-never-opened", "the NVTX range 'decoed' never began"),
            ("nsys", "no-range", ("--gate", "cudaProfilerApi"), "range-never-opened", "cudaProfilerStart was never"),
            ("nsys", "disk-full", (), "disk-full", 'said "Failed to write the report: No space left on device"'),
            ("ncu", "no-kernels", (), "no-kernels", "likely causes in this order: the workload launched none on a GPU"),
            ("ncu", "no-kernels", ("--range", "x"), "no-kernels", "no kernel was launched inside the NVTX range (x)"),
            ("ncu", "no-kernels", ("--kernel", "abc"), "no-kernels", "no kernel's demangled name matches 'abc'"),
            ("ncu", "no-kernels", ("--gate", "cudaProfilerApi"), "no-kernels", "cudaProfilerStart was never called"),
            ("ncu", "busy", (), "counters-busy", "a driver resource was unavailable"),
            ("ncu", "unsupported", (), "tool-too-old", "Unsupported GPU"),
            ("ncu", "no-permission", (), "no-counter-permission", "'--tool nsys' and '--tool torch' need no counters"),
            ("nsys", "agent-lost", (), "agent-lost", "Connection to Agent lost."),
        ],
    )
    def test_message(self, here, bin_dir, tool, behavior, args, slug, text):
        install(bin_dir, tool, VERSIONS[tool][1], behavior)
        done = profile("work.py", "--tool", tool, "-o", "r", *args)
        assert done.exit_code == 1
        assert text in done.stderr
        assert f"nsightkit explain {slug}" in done.stderr
        assert (here / "r" / "capture" / "child.log").is_file()

    def test_window_ends_the_workload_without_a_fault(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--window", "1:2")
        assert done.exit_code == 0, done.output
        (capture,) = Run(here / "r").read_info().captures
        assert capture.exit_code == 143
        assert capture.settings["scope"] == "2 s from 1 s on"

    def test_failing_untraced_run_is_no_fault(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        (here / "work.py").write_text(
            "import pathlib, sys\np = pathlib.Path('once')\nif not p.exists(): p.touch(); sys.exit(3)\n"
        )
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render")
        assert done.exit_code == 0, done.output
        assert "the overhead is not known" in done.stderr


class TestVerdict:
    @pytest.mark.parametrize(
        ("overhead", "missing"),
        [
            ({"ratio": 1.04}, False),
            ({"ratio": None, "low": 1.3, "high": 1.9}, False),
            ({"ratio": None, "low": 0.3, "high": 1.9}, True),
            ({"ratio": None}, True),
            ({}, True),
        ],
    )
    def test_reads_what_the_run_measured(self, tmp_path, overhead, missing):
        run = Run(tmp_path / "r")
        run.write_info(RunInfo(name="r", captures=(Capture("torch-trace", "torch", overhead=overhead),)))
        done = CliRunner().invoke(cli, ["verdict", str(run.path), "--format", "json"])
        assert done.exit_code == 0, done.output
        (row,) = json.loads(done.stdout)
        assert any("tracing overhead" in text for text in row["missing"]) == missing


class TestGraphs:
    def test_wall_time_comes_from_a_capture_in_graph_mode(self, here, bin_dir):
        record = install(bin_dir, "nsys", "2026.1.1.204", "graphs")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        assert done.exit_code == 0, done.output
        modes = [[word for word in words if word.startswith("--cuda-graph-trace")]
                 for words in calls(record) if "--output" in words]  # fmt: skip
        assert modes == [["--cuda-graph-trace=node"], ["--cuda-graph-trace=graph"]]
        # One capture in the tables: the same work is not counted twice.
        (capture,) = Run(here / "r").read_info().captures
        assert capture.row_counts["kernel_launches"] == 3
        mode = capture.settings["graph_mode"]
        assert mode["file"] == "timeline-graphs.sqlite"
        assert (here / "r" / "capture" / mode["file"]).is_file()
        assert mode["wall_s"] > 0
        assert mode["node_wall_s"] == pytest.approx(capture.wall_s, rel=0.9)
        assert "with CUDA graphs traced as a whole (timeline-graphs.sqlite)" in done.stdout

    @pytest.mark.parametrize(
        ("behavior", "args"), [("kernels", ()), ("graphs", ("--extra-nsys", "--cuda-graph-trace=node"))]
    )
    def test_no_second_capture_without_need(self, here, bin_dir, behavior, args):
        record = install(bin_dir, "nsys", "2026.1.1.204", behavior)
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead", *args)
        assert done.exit_code == 0, done.output
        assert len([words for words in calls(record) if "--output" in words]) == 1


class TestWhatItMeans:
    def test_unusable_but_run_is_said_last_with_exit_code_0(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-overhead")
        assert done.exit_code == 0, done.output
        last = done.stdout.splitlines()[-1]
        assert last.startswith("the workload ran and its report is written, hence exit code 0; but")
        assert "timeline: no kernels: no GPU was traced" in last

    def test_a_good_capture_needs_no_such_line(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204", "kernels")
        done = profile("work.py", "--tool", "nsys", "-o", "r", "--no-render", "--no-overhead")
        assert done.stdout.splitlines()[-1] == "run: r"

    def test_help_lists_the_exit_codes(self):
        text = profile("--help").stdout
        assert "Exit codes:" in text
        assert [line.split()[0] for line in text.split("Exit codes:")[1].splitlines() if line.strip()[:2] in
                ("0 ", "1 ", "2 ")] == ["0", "1", "2"]  # fmt: skip

    @pytest.mark.torch
    def test_a_script_without_torch_operators(self, here):
        done = profile("work.py", "--tool", "torch", "-o", "r", "--no-overhead")
        assert done.exit_code == 1
        assert "work: the script ran no torch operators" in done.stderr
        assert "export_chrome_trace" not in done.stderr
        assert "nsightkit explain no-torch-operators" in done.stderr

    def test_render_names_what_failed_profiles_left(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        (here / "work.py").write_text("raise SystemExit(3)")
        assert profile("work.py", "--tool", "nsys", "--no-overhead").exit_code == 1
        (kept,) = (here / "reports").iterdir()
        done = CliRunner().invoke(cli, ["render"])
        assert done.exit_code == 1
        assert f"kept in reports/{kept.name}" in done.stderr
        assert f"-o reports/{kept.name} --resume" in done.stderr


class TestDeterministic:
    @pytest.mark.parametrize(("line", "replay"), [("# nsightkit: deterministic\n", "application"), ("", None),
                                                  ("# nsightkit: deterministically\n", None)])  # fmt: skip
    def test_application_replay_where_the_script_says_so(self, here, bin_dir, line, replay):
        install(bin_dir, "ncu", "2026.1.0.0")
        (here / "work.py").write_text(f"{line}print(1)\n", encoding="utf-8")
        words = dry("ncu")
        assert (value(words, "--replay-mode") if "--replay-mode" in words else None) == replay
        assert value(dry("ncu", "--replay-mode", "kernel"), "--replay-mode") == "kernel"

    @pytest.mark.parametrize("name", ["kv_decode", "kv_variants", "sequence_sweep", "vlm_ocr"])
    def test_bundled_workloads_say_it(self, name):
        assert find_workload(name).deterministic
        assert not find_command(("echo",)).deterministic

    @pytest.mark.parametrize("name", ["batch_sweep", "capacity"])
    def test_a_search_for_what_fits_does_not(self, name):
        """How many it tries hangs on the memory that is free: no two runs need launch the same kernels."""
        assert not find_workload(name).deterministic


class TestShells:
    def test_powershell_quotes_words(self):
        line = command_line(["C:/Program Files/nsys.exe", "--trace=cuda", "it's", 'say "hi"', "$x", "-c"], "powershell")
        assert line == (
            "$PSNativeCommandArgumentPassing='Legacy'; $env:PYTHONUNBUFFERED=1; "
            "& 'C:/Program Files/nsys.exe' --trace=cuda 'it''s' 'say \\\"hi\\\"' '$x' -c"
        )

    def test_powershell_backslashes_before_quotes_are_doubled(self):
        assert command_line(['a\\"b'], "powershell").endswith("& 'a\\\\\\\"b'")

    def test_comma_makes_no_list(self):
        assert command_line(["nsys", "--trace=cuda,nvtx"], "powershell").endswith("& nsys '--trace=cuda,nvtx'")

    @pytest.mark.parametrize(
        ("word", "typed"),
        [
            ("it\u2019s", "'it\u2019\u2019s'"),  # a typographic quote would end the string
            ("-lr=0.5", "'-lr=0.5'"),  # unquoted two words, -lr=0 and .5
            ("--lr=0.5", "--lr=0.5"),
            ("", "'\"\"'"),  # unescaped it is dropped
            ("C:\\a b\\", "'C:\\a b\\\\'"),  # else the backslash escapes the quote that the blank brings
            ("C:\\ab\\", "C:\\ab\\"),
            ("\u2013x", "'\u2013x'"),  # an en dash is a dash too
            ("--%", "'--%'"), ("#c", "'#c'"), ("@x", "'@x'"), ("`n", "'`n'"), ("{1}", "'{1}'"), ("2>&1", "'2>&1'"),
        ],
    )  # fmt: skip
    def test_powershell_word(self, word, typed):
        assert command_line(["nsys", word], "powershell").endswith(f"& nsys {typed}")

    def test_only_delicate_words_need_the_old_passing(self):
        assert command_line(["nsys", "a b", "it's"], "powershell").startswith("$env:")
        assert command_line(["nsys", ""], "powershell").startswith("$PSNativeCommandArgumentPassing='Legacy'; ")

    def test_posix_line_means_itself(self):
        assert shlex.split(command_line(["a b", "$x", "it's"]))[1:] == ["a b", "$x", "it's"]

    def test_option(self, here, bin_dir):
        install(bin_dir, "nsys", "2026.1.1.204")
        done = profile("work.py", "--tool", "nsys", "--dry-run", "--shell", "powershell")
        assert done.stdout.startswith("$env:PYTHONUNBUFFERED=1; & ")


def test_environment_is_in_no_table(here, bin_dir, monkeypatch):
    monkeypatch.setenv("MY_SECRET_TOKEN", "hunter2-secret")
    install(bin_dir, "nsys", "2026.1.1.204", "kernels")
    profile("work.py", "--tool", "nsys", "-o", "r")
    files = [path for path in (here / "r").rglob("*") if path.is_file()]
    assert not [path for path in files if b"hunter2-secret" in path.read_bytes()]
    assert json.loads((here / "r" / "run.json").read_text())["captures"][0]["argv"][1] == "profile"


class TestTheKvDecodeStudysCommands:
    """What its authors typed, option by option: nsys over 16 tokens, ncu over five launches of one."""

    WORKLOAD = ("--phase=decode", "--cache-prefix=False", "--prefix-source=random", "--dtype=bfloat16",
                "--prompt-len=2048", "--batch-size=8", "--warmup-iters=0", "--bench-iters=1")  # fmt: skip

    def line(self, tool, tokens, kv_cache, *options):
        done = profile("kv_decode", "--tool", tool, "--tokens", tokens, *options, "--dry-run", "-o", "r",
                       "--no-overhead", "--", *self.WORKLOAD, f"--kv-cache={kv_cache}")  # fmt: skip
        assert done.exit_code == 0, done.output
        words = shlex.split(done.stdout)
        program = next(at for at, word in enumerate(words) if word.endswith("kv_decode.py"))
        return words[:program], words[program:]

    @pytest.mark.parametrize("kv_cache", ["False", "True"])
    def test_timeline(self, here, bin_dir, kv_cache):
        install(bin_dir, "nsys", "2023.4.4.54")
        tool, program = self.line("nsys", "16", kv_cache)
        assert {"profile", "--cuda-memory-usage=true", "--force-overwrite=true"} < set(tool)
        trace = next(word for word in tool if word.startswith("--trace="))
        assert {"cuda", "nvtx"} < set(trace.removeprefix("--trace=").split(","))
        assert {*self.WORKLOAD, f"--kv-cache={kv_cache}"} < set(program)
        assert value(program, "--max-new-tokens") == "16"

    @pytest.mark.parametrize("kv_cache", ["False", "True"])
    def test_counters(self, here, bin_dir, kv_cache):
        install(bin_dir, "ncu", VERSIONS["ncu"][0])
        tool, program = self.line("ncu", "1", kv_cache, "--set", "full", "--replay-mode", "kernel",
                                  "--launch-skip", "50", "--launch-count", "5")  # fmt: skip
        asked = {"--set": "full", "--target-processes": "all", "--replay-mode": "kernel", "--launch-skip": "50",
                 "--launch-count": "5"}  # fmt: skip
        assert {option: value(tool, option) for option in asked} == asked
        assert "--force-overwrite" in tool
        assert {*self.WORKLOAD, f"--kv-cache={kv_cache}"} < set(program)
        assert value(program, "--max-new-tokens") == "1"
