"""plan: tokens, steps, FLOPs, memory and hours of a training run, before anything is downloaded or started."""

from __future__ import annotations

import dataclasses
import json as json_module
import math
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

import click

from zhllm.config import Config, nearest
from zhllm.errors import ConfigError, DataError
from zhllm.flags import NamedPath, SpreadCommand, config_from_flags, stage_command
from zhllm.progress import say
from zhllm.stage import load

if TYPE_CHECKING:
    from zhllm.train.plan.cost import Gpu, ModelShape
    from zhllm.train.plan.facts import Run
    from zhllm.train.plan.memory import Precision, Setting

# Flags that plan shares with the stages; their defaults and meaning are the stage's own.
SHARED = (
    "trainable", "epochs", "steps", "rows_per_step", "rows_per_batch", "optimizer", "lora_rank", "lora_targets",
    "precision", "gradient_checkpointing", "device",
)  # fmt: skip
# What trained models of this kind reach of a GPU's peak: Chowdhery et al. 2022 (table 3) list 21-46 % model FLOPs
# utilisation on many devices. An assumption, replaced by --calibrate.
UTILISATION = 0.35


@click.command(cls=SpreadCommand)
@click.option(
    "--model", required=True, type=NamedPath(path_type=Path), help="Model directory, or only its config.json."
)
@click.option("--stage", type=click.Choice(["pretrain", "sft"]), default="pretrain", show_default=True,
              help="Whose defaults hold.")  # fmt: skip
@click.option("--data", type=NamedPath(path_type=Path), help="Folder of pack: its tokens are known exactly.")
@click.option("--tokens", type=click.IntRange(2), help="Tokens of the training data.")
@click.option("--corpus", multiple=True, type=NamedPath(path_type=Path), help="Documents, with --chars-per-token.")
@click.option("--chars-per-token", type=click.FloatRange(0, min_open=True), help="As advise-vocab or pack measured it.")
@click.option("--seq-len", type=click.IntRange(2), help="Tokens a row  [default: that of --data, or of the stage]")
@click.option("--vocab-size", type=click.IntRange(1), help="Rows after a planned extension of the vocabulary.")
@click.option("--learnt-share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Share of the tokens with a label (sft: those of the answers).")  # fmt: skip
@click.option("--gpu", help="GPU by name, such as 4090 or A100.")
@click.option("--gpus", type=click.IntRange(1), default=1, show_default=True, help="How many GPUs.")
@click.option("--memory", help="Memory of each device, such as 24GB (2^30 bytes, as GPUs are labelled).")
@click.option("--utilisation", type=click.FloatRange(0, 1, min_open=True), default=UTILISATION, show_default=True,
              help="Assumed share of the GPU's peak.")  # fmt: skip
@click.option("--calibrate", is_flag=True, help="Train 20 steps here and reckon the hours from them.")
@click.option("--json", is_flag=True, help="Print everything as one JSON object on stdout.")
def command(json: bool, **flags: Any) -> None:
    """Work out what a training run needs: tokens, steps, FLOPs, memory by part, hours, and what fits.

    Needs no weights: a config.json is enough. Everything is computed from shapes; with --calibrate 20 real
    steps of this very setting on this machine give the hours.

    \b
    zhllm plan --model resized --data packed --gpu 4090
    zhllm plan --model Llama-2-7b-hf/config.json --vocab-size 48617 --tokens 2000000000 --gpu A100 --gpus 8
    """
    found = make_plan(flags)
    if json:
        click.echo(json_module.dumps(found, ensure_ascii=False))
        return
    from zhllm.train.plan.text import as_text

    click.echo(as_text(found))


command.params[2:2] = [param for param in stage_command("pretrain", "").params if param.name in SHARED]


@dataclass(frozen=True)
class Request:
    """What was asked for: the stage's config, the model's shape, the device, and the data."""

    stage: str
    model: Path
    config: Config
    given: dict[str, Any]
    data: Path | None
    shape: ModelShape
    gpu: Gpu | None
    gpus: int
    limit_bytes: int | None
    seq_len: int
    tokens: int | None
    tokens_from: str
    learnt_share: float
    utilisation: float

    def get(self, name: str) -> Any:
        """A setting of the stage."""
        return getattr(self.config, name)

    @property
    def device(self) -> Literal["cuda", "cpu"]:
        """What is planned for: a GPU unless the CPU is asked for."""
        return "cpu" if self.get("device") == "cpu" else "cuda"


def make_plan(flags: dict[str, Any]) -> dict[str, Any]:
    """The whole plan as plain values; ConfigError and DataError where it cannot be made."""
    from zhllm.train.plan import facts
    from zhllm.train.plan.memory import memory_of
    from zhllm.train.plan.options import Option, options_of, recommend, variants

    request = read_request(flags)
    run = run_of(request)
    asked = Option(run.setting, memory_of(run.shape, run.setting))
    every = variants(run.setting, _trainables(request), _precisions(request), run.rows_per_step)
    options = options_of(run.shape, every)
    fixed = bool(request.given.keys() & {"rows_per_batch", "gradient_checkpointing"})
    chosen = recommend(options, asked, run.limit_bytes, fixed) or recommend(options, asked, run.limit_bytes, False)
    found: dict[str, Any] = {
        "stage": request.stage,
        "model": facts.model_facts(run),
        "setting": facts.setting_facts(run.setting) | {"rows_per_step": run.rows_per_step, "device": request.device},
        "device": {"gpu": run.gpu and run.gpu.name, "gpus": run.setting.gpus, "limit_bytes": run.limit_bytes,
                   "source": run.gpu and run.gpu.source},
        "data": facts.data_facts(run),
        "flops": facts.flops_facts(run),
        "memory": facts.memory_facts(run),
        "new_rows": facts.new_rows_facts(run.shape),
        "time": calibrated_time(request, run) if flags["calibrate"] else facts.estimated_time(run),
        "options": [facts.option_facts(run, option) for option in options],
        "recommended": None,
    }  # fmt: skip
    if chosen is not None:
        words = command_words(request, chosen.setting)
        found["recommended"] = facts.option_facts(run, chosen) | {"command": shlex.join(words)}
    return found


def run_of(request: Request) -> Run:
    """The planned run in numbers."""
    from zhllm.train.plan.facts import Run

    return Run(
        shape=request.shape,
        setting=asked_setting(request),
        rows_per_step=request.get("rows_per_step"),
        tokens=request.tokens,
        tokens_from=request.tokens_from,
        epochs=request.get("epochs"),
        steps_asked=request.get("steps"),
        gpu=request.gpu,
        limit_bytes=request.limit_bytes,
        utilisation=request.utilisation,
    )


def _trainables(request: Request) -> list[str]:
    """Everything that this stage can train in this model."""
    known = get_args(load(request.stage).config.model_fields["trainable"].annotation)
    return [name for name in known if request.shape.new_rows or "new-rows" not in name]


def _precisions(request: Request) -> list[Precision]:
    """The asked precision, and float32."""
    asked = precision_of(request)
    return [asked] if asked == "fp32" else [asked, "fp32"]


def calibrated_time(request: Request, run: Run) -> dict[str, Any]:
    """Seconds and hours from real steps of the asked setting on this machine."""
    from zhllm.train.plan.calibration import STEPS, calibrate
    from zhllm.train.plan.cost import flops_per_token

    if request.stage != "pretrain" or request.data is None:
        raise ConfigError("--calibrate trains real steps: give --data, the folder of pack (and --stage pretrain).")
    if request.shape.vocab_size != read_shape(request.model, None).vocab_size:
        raise ConfigError("--calibrate trains the model as it is: leave out --vocab-size, or resize the model first.")
    say(f"training {STEPS} steps of this setting")
    words = [*_stage_words(request, run.setting), "--device", request.get("device")]
    made = calibrate(words)
    tokens = run.rows_per_step * run.setting.seq_len
    flops = flops_per_token(run.shape, run.setting.training, run.setting.seq_len)
    return {
        "from": "calibration",
        **dataclasses.asdict(made),
        "utilisation": None,
        "tokens_per_s": tokens / made.seconds_per_step,
        "model_flops_per_s": flops.model * tokens / made.seconds_per_step,
        "hours": None if run.steps is None else run.steps * made.seconds_per_step / 3600,
    }


def command_words(request: Request, setting: Setting) -> list[str]:
    """The command that trains in a setting, ready to be typed."""
    words = [*_stage_words(request, setting), "-o", "pretrained" if request.stage == "pretrain" else "tuned"]
    if setting.gpus == 1:
        return ["zhllm", *words]
    shard = ["--use_fsdp", "--fsdp_version", "2"] if setting.sharded else ["--multi_gpu"]
    return ["accelerate", "launch", *shard, "--num_processes", str(setting.gpus), "-m", "zhllm", *words]


def _stage_words(request: Request, setting: Setting) -> list[str]:
    """The stage with those flags that are not its defaults; `setting` decides memory, the request the rest."""
    fields = load(request.stage).config.model_fields
    values = {name: request.get(name) for name in SHARED if name != "device"}
    values |= {"trainable": setting.training.trainable, "rows_per_batch": setting.rows_per_batch}
    values |= {"gradient_checkpointing": setting.training.gradient_checkpointing}
    model = request.model.parent if request.model.name == "config.json" else request.model
    data = ["--data", str(request.data or "packed")] if request.stage == "pretrain" else ["--chats", "chats"]
    words = [request.stage, "--model", str(model), *data]
    if request.stage == "sft" and request.seq_len != fields["seq_len"].default:
        words += ["--seq-len", str(request.seq_len)]
    for name, value in values.items():
        if value not in (None, fields[name].default):
            flag = "--" + name.replace("_", "-")
            listed = [str(part) for part in value] if isinstance(value, tuple) else [str(value)]
            words += [flag] if value is True else [f"--no-{flag[2:]}"] if value is False else [flag, *listed]
    return words


# --- What was asked for ---


def read_request(flags: dict[str, Any]) -> Request:
    """The request that the flags make; ConfigError and DataError where they contradict each other or a file."""
    given = {name: flags[name] for name in SHARED if flags[name] not in (None, ())}
    stage = flags["stage"]
    data = flags["data"] or Path("packed")
    inputs = {"model": flags["model"], **({"data": data} if stage == "pretrain" else {"chats": (Path("chats"),)})}
    config = config_from_flags(load(stage).config, {**inputs, **given})
    shape = read_shape(flags["model"], flags["vocab_size"])
    tokens, seq_len, source = read_tokens(flags, shape)
    if seq_len is None:
        owner = load(stage if stage == "sft" else "pack").config
        seq_len = min(owner.model_fields["seq_len"].default, shape.max_positions or math.inf)
    if shape.max_positions is not None and seq_len > shape.max_positions:
        raise ConfigError(f"rows of {seq_len} tokens, but {flags['model']} reads {shape.max_positions} at most.")
    gpu = read_gpu(flags["gpu"])
    request = Request(
        stage, flags["model"], config, given, flags["data"], shape, gpu, flags["gpus"],
        read_limit(flags["memory"], gpu, flags["device"]), seq_len, tokens, source,
        flags["learnt_share"], flags["utilisation"],
    )  # fmt: skip
    check_request(request)
    return request


def check_request(request: Request) -> None:
    """ConfigError where the settings do not go with the model or the device."""
    rows_per_step = request.get("rows_per_step")
    if "new-rows" in request.get("trainable") and not request.shape.new_rows:
        raise ConfigError(
            f"--trainable {request.get('trainable')}: {request.model} has no new rows (no extension.json beside its "
            "config). Give the model that resize wrote, --vocab-size for a planned extension, or --trainable lora."
        )
    if rows_per_step % request.gpus:
        raise ConfigError(f"--rows-per-step {rows_per_step}: cannot be dealt to {request.gpus} GPUs equally.")
    if request.device == "cpu" and (request.gpu is not None or request.gpus > 1):
        raise ConfigError("--device cpu does not go with --gpu or --gpus.")
    from zhllm.model.llama import LINEARS

    for target in request.get("lora_targets"):
        if target not in LINEARS:
            raise ConfigError(f'--lora-targets: "{target}" is not known here.{nearest(target, LINEARS)}')
    wanted = request.get("precision")
    if wanted != "auto" and wanted not in _supported(request):
        names = request.gpu.name if request.gpu else "a CPU"
        raise ConfigError(
            f"--precision {wanted}: {names} has no such products. Use {' or '.join(_supported(request))}."
        )


def read_shape(model: Path, vocab_size: int | None) -> ModelShape:
    """The model's shape, with the rows of an extension that was made or is planned."""
    from zhllm.train.plan.cost import shape_of_model

    folder = model.parent if model.name == "config.json" else model
    if not folder.is_dir():
        raise ConfigError(f"--model {model}: there is no such model directory or config.json.")
    shape = shape_of_model(folder)
    if vocab_size is None:
        return shape
    base = shape.vocab_size if shape.base_vocab_size is None else shape.base_vocab_size
    if vocab_size < base:
        raise ConfigError(f"--vocab-size {vocab_size}: the model has {base} rows before its extension already.")
    return shape.with_rows(vocab_size, base)


def read_tokens(flags: dict[str, Any], shape: ModelShape) -> tuple[int | None, int | None, str]:
    """(tokens, tokens a row where the data decide it, where the number is from)."""
    ways = [name for name in ("data", "tokens", "corpus") if flags[name]]
    if len(ways) > 1:
        raise ConfigError(f"--{' and --'.join(ways)}: give one of them.")
    if bool(flags["corpus"]) != (flags["chars_per_token"] is not None):
        raise ConfigError("--corpus and --chars-per-token go together: zhllm advise-vocab and pack measure the latter.")
    if flags["data"] is not None:
        return _packed_tokens(flags["data"], flags["seq_len"], shape)
    if flags["corpus"]:
        tokens = math.ceil(_characters(flags["corpus"]) / flags["chars_per_token"])
        return tokens, flags["seq_len"], f"characters of {' '.join(map(str, flags['corpus']))}"
    return flags["tokens"], flags["seq_len"], "--tokens"


def _packed_tokens(data: Path, seq_len: int | None, shape: ModelShape) -> tuple[int, int, str]:
    from zhllm.train.pack.store import read_info

    info = read_info(data)
    if seq_len not in (None, info.seq_len):
        raise ConfigError(f"--seq-len {seq_len}: {data} was packed in rows of {info.seq_len} tokens.")
    if info.vocab_size > shape.vocab_size:
        raise DataError(
            f"{data}: was packed with {info.vocab_size} ids, but the model has {shape.vocab_size} rows. Give the "
            "model that resize wrote, or --vocab-size."
        )
    return info.sets["train"].tokens, info.seq_len, str(data)


def _characters(paths: tuple[Path, ...]) -> int:
    from zhllm.text.read.shards import read_documents

    missing = [str(path) for path in paths if not path.exists()]
    if missing:
        raise ConfigError(f"--corpus {missing[0]}: there is no such file or folder.")
    count = sum(len(document.text) for document in read_documents(paths, split="train"))
    if not count:
        raise DataError(f"{' '.join(map(str, paths))}: holds no text.")
    return count


def read_gpu(name: str | None) -> Gpu | None:
    """The GPU of the table; ConfigError with the nearest name."""
    from zhllm.train.plan.cost import find_gpu, gpus

    if name is None:
        return None
    found = find_gpu(name) or find_gpu(f"RTX {name}")
    if found is None:
        raise ConfigError(f'--gpu "{name}": is not in the table.{nearest(name, list(gpus()))} Or give --memory.')
    return found


def read_limit(memory: str | None, gpu: Gpu | None, device: str | None) -> int | None:
    """Bytes of --memory, of the GPU, or with --device cpu of this machine; None where nothing says."""
    from zhllm.train.plan.machine import bytes_of, host_memory

    if memory is None and device == "cpu":
        return host_memory().usable_bytes
    if memory is None:
        return None if gpu is None else gpu.memory_bytes
    found = bytes_of(memory)
    if not found:
        raise ConfigError(f'--memory "{memory}": give a number with a unit, such as 24GB.')
    return found


def _supported(request: Request) -> list[str]:
    if request.device == "cpu":
        return ["bf16", "fp32"]
    return list(request.gpu.tflops) if request.gpu else ["bf16", "fp16", "fp32"]


def precision_of(request: Request) -> Precision:
    """What the products compute in; "auto" is bf16 where the device has it."""
    wanted = request.get("precision")
    if wanted != "auto":
        return cast("Precision", wanted)
    if request.device == "cpu":
        from zhllm.train.plan.machine import cpu

        return "bf16" if cpu().has_bf16 else "fp32"
    return "bf16" if "bf16" in _supported(request) else "fp32"


def asked_setting(request: Request) -> Setting:
    """The setting that the flags and the stage's defaults make."""
    from zhllm.train.plan.cost import Training
    from zhllm.train.plan.memory import Setting
    from zhllm.train.plan.options import with_rows

    training = Training(
        request.get("trainable"),
        request.get("lora_rank"),
        tuple(request.get("lora_targets")),
        request.get("gradient_checkpointing"),
        request.learnt_share,
    )
    mine = request.get("rows_per_step") // request.gpus
    rows = min(request.get("rows_per_batch") or mine, mine)
    made = Setting(
        training, rows, request.seq_len, precision_of(request), request.get("optimizer"), request.device,
        gpus=request.gpus,
    )  # fmt: skip
    return with_rows(made, rows, request.get("rows_per_step"))
