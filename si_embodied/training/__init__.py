"""Training: si-nano from scratch, and tuning of real checkpoints, by LoRA or in full. No command-line code here."""
