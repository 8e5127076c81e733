"""Algorithm 3 of the paper: meta-reinforcement learning on the paper's five navigation and MuJoCo experiments.

What simulates needs MuJoCo and says so (`rl.envs`); settings, published curves, figures and the page don't.

    meta_rl, meta_policy, policy, trpo, advantages   the algorithm
    envs, tasks, sampling, film                      what is learnt, episodes of it, and pictures of them
    settings, protocol, learner, kind                how a run is set, trained and tested, for `maml.runs`
    published, plots, page, benchmark                what is compared, drawn, reported and measured
"""
