"""Multiple choice in 5-shot: one pass an option, lm-evaluation-harness alone and through us; same model and prompts.

`python tests/bench/evaluate.py DATA [QUESTIONS_PER_SUBJECT]` with DATA as tests find it (eval/cmmlu); needs lm-eval.
CPU seconds of one process after loading; tokens are those that go through the model.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent.parent))
sys.path.insert(0, str(Path(__file__).parent.parent / "parity"))

import torch
from evaluated import Plain, encoder, few, llama2_model, worst

from zhllm.evals.choice import ChoiceProtocol, prompt_of, run_choice, wording_for
from zhllm.evals.choice_sets import Columns, read_sets
from zhllm.evals.likelihood import TorchScorer
from zhllm.model.transformers_model import open_model


def main(data: Path, count: int) -> None:
    """Print a line for each."""
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp())
    model = llama2_model(folder, data)
    subjects = few(read_sets([data / "eval" / "cmmlu"], Columns()), count)
    protocol = ChoiceProtocol(5, "letter")
    scorer = TorchScorer(open_model(model, torch.float32), encoder(model))
    start = time.process_time()
    result = run_choice(scorer, subjects, protocol)
    own_s = time.process_time() - start
    print(f"zhllm              {len(result.marked)} questions  {scorer.tokens_computed:,} tokens  {own_s:.1f} CPU-s")

    wording, by_name = wording_for(subjects), {s.name: s for s in subjects}
    put = [prompt_of(by_name[m.subject], m.choice, m.shots, protocol, wording) for m in result.marked]
    plain, cpu_s = Plain(model), list[float]()
    start = time.process_time()
    reference = [plain.nats(p.context, p.options) for p in put]
    plain_s = time.process_time() - start
    print(
        f"one pass an option  {plain.tokens:,} tokens  {plain_s:.1f} CPU-s  differs by {worst(result, reference):.0e}"
    )
    print(f"  tokens {plain.tokens / scorer.tokens_computed:.1f} times, seconds {plain_s / own_s:.1f} times")

    from test_evals_choice import harness_scores

    from zhllm.stages._evaluate_config import EvaluateConfig
    from zhllm.stages._evaluate_harness import model_of
    from zhllm.stages._evaluate_tasks import Subject

    prompts = [(p.context, p.options) for p in put]
    harness = harness_scores(folder / "own", model, prompts, cpu_s)
    config = EvaluateConfig(model=model, harness=("own",))
    with model_of(config, Subject(model, None, "model"), None, lambda count: None) as lm:
        bridged = harness_scores(folder / "bridged", model, prompts, cpu_s, lm)
    for name, scores, seconds in zip(("lm-eval", "evaluate --harness"), (harness, bridged), cpu_s, strict=True):
        print(f"{name:18}  {seconds:.1f} CPU-s, {seconds / own_s:.1f} times  differs by {worst(result, scores):.1e}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 40)
