"""Language models around the attentions: token ids in, logits out."""
