#!/usr/bin/env bash
# Your documents into a Qwen3-8B on one GPU of 24 GB. Its byte-level vocabulary of 151,643 was made for Chinese too, so it is kept as it is: LoRA only, on a base in four bits.
#
# The steps of recipe.yaml as plain commands; made by: zhllm run RECIPE --steps
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN="${RUN:-runs/qwen3-8b}"
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

# Text of the kind the base knows, against forgetting.
zhllm collect \
  --source "$REPLAY" \
  -o "$RUN/collect-replay"

# The same clean-up, without the rules that ask for Han characters.
zhllm clean \
  --documents "$RUN/collect-replay" \
  --language any \
  -o "$RUN/clean-replay"

# Documents as rows of 4096 tokens, tokenised by the base's own tokenizer.
zhllm pack \
  --corpus "$RUN/clean" \
  --tokenizer "$BASE" \
  --seq-len 4096 \
  --replay "$RUN/clean-replay" \
  --replay-share 0.1 \
  -o "$RUN/pack"

# Continued pretraining of LoRA matrices on a base in four bits; a killed run continues from its last checkpoint.
zhllm pretrain \
  --model "$BASE" \
  --trainable qlora \
  --epochs 1.0 \
  --rows-per-step 32 \
  --rows-per-batch 1 \
  --learning-rate 0.0001 \
  --lora-rank 64 \
  --gradient-checkpointing \
  --validate-every 200 \
  --data "$RUN/pack" \
  -o "$RUN/pretrain"

# The adapter folded into the base, streamed.
zhllm merge \
  --model "$BASE" \
  --adapter "$RUN/pretrain" \
  -o "$RUN/merge-pretrained"

# Instruction data become one chat format; bad records are listed with file and line.
zhllm convert \
  --source "$INSTRUCTIONS" \
  -o "$RUN/convert"

# Fine-tuning on the chats in ChatML, Qwen's own format; only what the assistant writes is learnt.
zhllm sft \
  --model "$RUN/merge-pretrained" \
  --trainable qlora \
  --epochs 2.0 \
  --rows-per-step 16 \
  --rows-per-batch 1 \
  --learning-rate 0.0001 \
  --lora-rank 64 \
  --gradient-checkpointing \
  --chats "$RUN/convert" \
  --prompt-format chatml \
  --seq-len 4096 \
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

# Bits per character of held-out documents, before and after.
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
