"""The two baselines of table 1: nearest neighbour and fine-tuning on a network that classifies all training classes.

Ravi and Larochelle (2017), "Optimization as a model for few-shot learning", whose numbers the table takes over, and
their code, twitter-research/meta-learning-lstm (config/baselines/train-conv-nearest-neighbor.lua and
train-pre-trained-SGD.lua, model/baselines/). What differs from it: 32 filters, as in the other rows of the table, where
their code has 64; batch statistics of the images at hand wherever their code has running averages, as in the rest of
this project, so that queries are normalised together (transductive); no gamma, which the normalisation of the original
MAML has not either; as many queries per class as shots, as in MAML's own test, where theirs has 15; and what the
modules state.
"""
