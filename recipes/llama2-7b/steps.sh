#!/usr/bin/env bash
# Your documents into a Llama-2-7B (or another base with its tokenizer, such as TinyLlama), on one GPU of 24 GB: the tokenizer is extended, new rows and LoRA on a base in four bits are trained.
#
# The steps of recipe.yaml as plain commands; made by: zhllm run RECIPE --steps
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN="${RUN:-runs/llama2-7b}"
BASE="${BASE:?set BASE first, e.g. export BASE=/path}"
DOCUMENTS="${DOCUMENTS:?set DOCUMENTS first, e.g. export DOCUMENTS=/path}"
INSTRUCTIONS="${INSTRUCTIONS:?set INSTRUCTIONS first, e.g. export INSTRUCTIONS=/path}"
REPLAY="${REPLAY:?set REPLAY first, e.g. export REPLAY=/path}"

# Read your documents; what cannot be read is listed in rejected-*.parquet with its reason.
zhllm collect \
  --source "$DOCUMENTS" \
  -o "$RUN/collect"

# Normalise, filter and de-duplicate. Look at the result before you go on:
# zhllm show RUN/clean
zhllm clean \
  --documents "$RUN/collect" \
  --profile document \
  --traditional simplify \
  -o "$RUN/clean"

# Text of the kind the base knows; a tenth of it in training keeps its English.
zhllm collect \
  --source "$REPLAY" \
  -o "$RUN/collect-replay"

# The same clean-up, without the rules that ask for Han characters.
zhllm clean \
  --documents "$RUN/collect-replay" \
  --language any \
  -o "$RUN/clean-replay"

# The characters and words worth a token. A piece should be seen some 200 times in training;
# with little text, ask for fewer (7000) or raise min_count.
zhllm train-vocab \
  --corpus "$RUN/clean" \
  --size 17000 \
  --characters 6000 \
  --min-count 20 \
  -o "$RUN/train-vocab"

# The base tokenizer with those pieces. Refuses to write unless every engine agrees.
zhllm extend-vocab \
  --base "$BASE" \
  --pieces "$RUN/train-vocab" \
  --text "$RUN/clean" \
  -o "$RUN/extend-vocab"

# A row for every new piece, the mean of its old sub-tokens' rows. Old rows stay bit-identical.
zhllm resize \
  --model "$BASE" \
  --tokenizer "$RUN/extend-vocab" \
  -o "$RUN/resize"

# Documents as rows of 2048 tokens; documents in a row never see each other.
zhllm pack \
  --corpus "$RUN/clean" \
  --tokenizer "$RUN/resize" \
  --seq-len 2048 \
  --replay "$RUN/clean-replay" \
  --replay-share 0.1 \
  -o "$RUN/pack"

# Continued pretraining, first of the new rows alone, then of LoRA matrices too. A killed run continues
# from its last checkpoint; bits per character of Chinese and of the replay text stand in metrics.jsonl.
zhllm pretrain \
  --model "$RUN/resize" \
  --trainable new-rows+qlora \
  --epochs 1.0 \
  --rows-per-step 64 \
  --rows-per-batch 2 \
  --learning-rate 0.0002 \
  --schedule two-stage \
  --lora-rank 64 \
  --gradient-checkpointing \
  --validate-every 200 \
  --data "$RUN/pack" \
  -o "$RUN/pretrain"

# Adapter and new rows folded into the base, streamed.
zhllm merge \
  --model "$RUN/resize" \
  --adapter "$RUN/pretrain" \
  -o "$RUN/merge-pretrained"

# Instruction data become one chat format; bad records are listed with file and line.
zhllm convert \
  --source "$INSTRUCTIONS" \
  -o "$RUN/convert"

# Fine-tuning on the chats; only what the assistant writes is learnt.
zhllm sft \
  --model "$RUN/merge-pretrained" \
  --trainable qlora \
  --epochs 2.0 \
  --rows-per-step 32 \
  --rows-per-batch 2 \
  --learning-rate 0.0001 \
  --lora-rank 64 \
  --gradient-checkpointing \
  --chats "$RUN/convert" \
  --prompt-format llama2 \
  --seq-len 2048 \
  -o "$RUN/sft"

# The model to keep, a plain directory that transformers and vLLM load as it is.
zhllm merge \
  --model "$RUN/merge-pretrained" \
  --adapter "$RUN/sft" \
  -o "$RUN/merge"

# GGUF files for llama.cpp and Ollama, each proved against the merged directory.
zhllm export \
  --model "$RUN/merge" \
  --type q4_k_m q8_0 \
  --text "$RUN/clean" \
  -o "$RUN/export"

# Bits per character of held-out documents, before and after (comparable across tokenizers).
zhllm evaluate \
  --model "$RUN/merge-pretrained" \
  --against "$BASE" \
  --task bits \
  --data "$RUN/clean" \
  -o "$RUN/evaluate-chinese"

# The same of the held-out replay text, to see what was forgotten.
zhllm evaluate \
  --model "$RUN/merge-pretrained" \
  --against "$BASE" \
  --task bits \
  --data "$RUN/clean-replay" \
  -o "$RUN/evaluate-replay"
