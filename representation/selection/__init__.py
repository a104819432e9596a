"""Which encoder to take: scores without training, and one protocol of fine-tuning for all."""
