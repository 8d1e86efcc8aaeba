"""Text decoder: fused embeddings + token ids -> logits."""
