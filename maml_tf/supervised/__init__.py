"""The paper's supervised experiments: from flags to a trained, tested and exported model."""
