"""The two baselines of table 1: nearest neighbour and fine-tuning on a network that classifies all training classes.

They follow Ravi and Larochelle (2017), "Optimization as a model for few-shot learning", whose numbers the table
repeats, and their code, twitter-research/meta-learning-lstm (config/baselines/train-conv-nearest-neighbor.lua and
train-pre-trained-SGD.lua, model/baselines/). These are the differences from that code, besides those that the modules
state:

- 32 filters, as in the other rows of the table, instead of 64;
- batch statistics of the current images instead of running averages, as in the rest of this project, so that queries
  are normalised together (transductive);
- no gamma, as in the normalisation of the original MAML;
- as many queries per class as shots, as in MAML's own test, instead of 15.
"""
