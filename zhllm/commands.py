"""The command table: every command's name and one-line help, light enough for `zhllm --help`."""

STAGES = {
    "collect": "Read files and folders of any kind into document shards.",
    "clean": "Normalise, filter and de-duplicate documents; split train and valid.",
    "train-tokenizer": "Train a Llama-style SentencePiece tokenizer from scratch.",
    "train-vocab": "Learn Chinese pieces (characters, then BPE) from cleaned text.",
    "extend-vocab": "Add Chinese pieces to a base tokenizer, exact in every engine.",
    "init-model": "Make a fresh Llama for a tokenizer (teaching, demo base).",
    "resize": "Grow a model's embeddings to an extended tokenizer.",
    "pack": "Tokenise documents into fixed-length training rows.",
    "pretrain": "Continue (or start) pretraining on packed rows.",
    "convert": "Turn instruction data of many shapes into canonical chats.",
    "synth": "Make question-answer chats from your own documents, with evidence.",
    "sft": "Fine-tune on chats, loss on the assistant's turns only.",
    "merge": "Fold adapters into their base: a plain model directory.",
    "export": "Write GGUF files and a Modelfile, proved against the source.",
    "evaluate": "Score models: bits per character, questions, multiple choice, generation, preferences, memorisation.",
}

TOOLS = {
    "run": "Run a recipe: every stage in order, only what is not up to date.",
    "status": "Show how far a recipe's run is and what it measured.",
    "report": "Write the build report of a run: one page, offline, with scores.",
    "compare": "Set the scores of runs side by side, with paired significance.",
    "check-vocab": "Check any tokenizer: engines compared, round trip, dead pieces, compression.",
    "advise-vocab": "Measure whether to extend a tokenizer, and by how many pieces.",
    "doctor": "Look at this machine: what is missing for which stage, and what to do.",
    "plan": "Work out tokens, FLOPs, memory and hours of a training run, and what fits.",
    "show": "Look at documents, chats with their loss mask, or a manifest.",
    "chat": "Talk to a model directory, a GGUF file or a server.",
    "serve": "Serve a model over HTTP as OpenAI does, with a chat page.",
}
