"""Algorithm 3 of the paper: meta-reinforcement learning on the paper's five navigation and MuJoCo experiments.

What simulates needs MuJoCo and says so (`rl.envs`); settings, published curves, figures and reports don't.
"""
