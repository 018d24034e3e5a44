#!/usr/bin/env bash
# The whole line in minutes on two CPU cores: a tiny English-only Llama stands in for your base model, a fictional company's documents for yours.
#
# The steps of recipe.yaml as plain commands; made by: zhllm run RECIPE --steps
set -euo pipefail
cd "$(dirname "$0")/../.."
RUN="${RUN:-runs/demo}"

# The English text the base will know.
zhllm collect \
  --source corpora/english \
  -o "$RUN/collect-english"

# The same clean-up as for Chinese, without the rules that ask for Han characters.
zhllm clean \
  --documents "$RUN/collect-english" \
  --language en \
  --valid-share 0.05 \
  -o "$RUN/clean-english"

# A Llama-style tokenizer that has never seen Chinese; every Han character costs three bytes.
zhllm train-tokenizer \
  --corpus "$RUN/clean-english" \
  --size 2000 \
  -o "$RUN/train-tokenizer"

# A fresh Llama with random weights.
zhllm init-model \
  --tokenizer "$RUN/train-tokenizer" \
  --size tiny \
  -o "$RUN/init-model"

# English documents as training rows.
zhllm pack \
  --corpus "$RUN/clean-english" \
  --tokenizer "$RUN/train-tokenizer" \
  --seq-len 256 \
  -o "$RUN/pack-english"

# The base learns English. Muon reaches a lower loss than AdamW on equal tokens.
zhllm pretrain \
  --model "$RUN/init-model" \
  --trainable all \
  --epochs 1.5 \
  --rows-per-step 8 \
  --learning-rate 0.003 \
  --optimizer muon \
  --data "$RUN/pack-english" \
  -o "$RUN/pretrain-english"

# Every document of the company, or why it could not be read.
zhllm collect \
  --source corpora/company \
  -o "$RUN/collect"

# Clean text, without duplicates; what was dropped lies beside it with its reason.
zhllm clean \
  --documents "$RUN/collect" \
  --traditional simplify \
  --valid-share 0.05 \
  -o "$RUN/clean"

# The characters and words worth a token of their own.
zhllm train-vocab \
  --corpus "$RUN/clean" \
  --size 2400 \
  --min-count 3 \
  -o "$RUN/train-vocab"

# The base tokenizer with those pieces, proved equal in every engine.
zhllm extend-vocab \
  --base "$RUN/train-tokenizer" \
  --pieces "$RUN/train-vocab" \
  --text "$RUN/clean" \
  -o "$RUN/extend-vocab"

# A row for every new piece, the mean of its old sub-tokens' rows.
zhllm resize \
  --model "$RUN/pretrain-english" \
  --tokenizer "$RUN/extend-vocab" \
  --text "$RUN/clean" \
  -o "$RUN/resize"

# Chinese documents as training rows, with some English so that it is not forgotten.
zhllm pack \
  --corpus "$RUN/clean" \
  --tokenizer "$RUN/resize" \
  --seq-len 256 \
  --replay "$RUN/clean-english" \
  --replay-share 0.3 \
  -o "$RUN/pack"

# Continued pretraining of the new rows and LoRA matrices; the base's own values do not move.
zhllm pretrain \
  --model "$RUN/resize" \
  --trainable new-rows+lora \
  --epochs 2.0 \
  --rows-per-step 8 \
  --learning-rate 0.003 \
  --optimizer muon \
  --lora-rank 64 \
  --data "$RUN/pack" \
  -o "$RUN/pretrain"

# The adapter and the new rows folded into the base.
zhllm merge \
  --model "$RUN/resize" \
  --adapter "$RUN/pretrain" \
  -o "$RUN/merge-pretrained"

# Instruction data in Alpaca form and OASST trees become one chat format.
zhllm convert \
  --source corpora/instructions \
  -o "$RUN/convert"

# Fine-tuning, loss on the answers only. A base of 3 M parameters needs its embeddings trained
# too; LoRA alone is enough for a real one.
zhllm sft \
  --model "$RUN/merge-pretrained" \
  --trainable embeddings+lora \
  --epochs 3.0 \
  --rows-per-step 8 \
  --learning-rate 0.003 \
  --optimizer muon \
  --lora-rank 64 \
  --chats "$RUN/convert" \
  --seq-len 256 \
  -o "$RUN/sft"

# The final model, a plain directory that transformers and vLLM load as it is.
zhllm merge \
  --model "$RUN/merge-pretrained" \
  --adapter "$RUN/sft" \
  -o "$RUN/merge"

# GGUF files for llama.cpp and Ollama, proved against the merged directory.
zhllm export \
  --model "$RUN/merge" \
  --type q8_0 f16 q4_k_m \
  --name company \
  --text "$RUN/clean" \
  -o "$RUN/export"

# Bits per character of held-out company text, before and after pretraining.
zhllm evaluate \
  --model "$RUN/merge-pretrained" \
  --against "$RUN/pretrain-english" \
  --task bits \
  --data "$RUN/clean" \
  -o "$RUN/evaluate-chinese"

# The same of held-out English, to see what was forgotten.
zhllm evaluate \
  --model "$RUN/merge-pretrained" \
  --against "$RUN/pretrain-english" \
  --task bits \
  --data "$RUN/clean-english" \
  -o "$RUN/evaluate-english"

# Questions in wordings that were never trained, asked of the final model and of the base.
zhllm evaluate \
  --model "$RUN/merge" \
  --against "$RUN/pretrain-english" \
  --task questions \
  --data corpora/questions/company.jsonl \
  --max-tokens 40 \
  -o "$RUN/evaluate-merged"

# The same questions, answered by llama.cpp from the q8_0 file.
zhllm evaluate \
  --model "$RUN/export/company-q8_0.gguf" \
  --task questions \
  --data corpora/questions/company.jsonl \
  --max-tokens 40 \
  -o "$RUN/evaluate-gguf"
