"""The numbers the paper reports, each with its place in it, and the command that reproduces each of MAML's own.

[P] is Finn, Abbeel, Levine 2017, arXiv 1703.03400v3.
"""

import re
from dataclasses import dataclass

TABLE_1_OMNIGLOT = '[P] table 1, Omniglot'
TABLE_1_IMAGENET = '[P] table 1, MiniImagenet'
TABLE_2 = '[P] appendix C.1, table 2'

# The paper's "MAML" and the two curves it draws beside it for the sinusoid.
ORACLE, PRETRAINED = 'sinusoid_10shot_oracle', 'sinusoid_10shot_pretrained'


@dataclass(frozen=True)
class PublishedCell:
    """One printed number.

    value and interval are fractions (0.987) where the unit is 'accuracy' and a squared error where it is 'mse';
    interval is half the width of the 95 % interval over tasks, None where none is printed. shots is K at test, step
    the inner step after which it is read (None for methods without inner steps), source its place in the paper.
    """
    experiment: str
    method: str
    value: float
    interval: float | None
    unit: str
    shots: int
    step: int | None
    source: str

    def __str__(self):
        """The number as printed: '98.7 ± 0.4 %', '0.67'."""
        if self.unit == 'mse':
            return f'{self.value:.2f}'
        digits = 2 if self.experiment.startswith('miniimagenet') else 1
        interval = '' if self.interval is None else f' ± {100 * self.interval:.{digits}f}'
        return f'{100 * self.value:.{digits}f}{interval} %'


def _percent(experiment, method, value, interval, shots, step, source):
    """The cell of an accuracy written in percent, as in the paper."""
    interval = None if interval is None else round(interval / 100, 6)
    return PublishedCell(experiment, method, round(value / 100, 6), interval, 'accuracy', shots, step, source)


def _errors(experiment, method, values):
    """Three cells: the mean squared error after 1, 5 and 10 steps with 5 points."""
    return tuple(PublishedCell(experiment, method, value, None, 'mse', 5, step, TABLE_2)
                 for step, value in zip((1, 5, 10), values))


# MAML's own cells, and the pretrained network that is run here beside it.
MAML_CELLS = (
    _percent('omniglot_5way_1shot_dense', 'MAML, no conv', 89.7, 1.1, 1, 3, TABLE_1_OMNIGLOT),
    _percent('omniglot_5way_5shot_dense', 'MAML, no conv', 97.5, 0.6, 5, 3, TABLE_1_OMNIGLOT),
    _percent('omniglot_5way_1shot', 'MAML', 98.7, 0.4, 1, 3, TABLE_1_OMNIGLOT),
    _percent('omniglot_5way_5shot', 'MAML', 99.9, 0.1, 5, 3, TABLE_1_OMNIGLOT),
    _percent('omniglot_20way_1shot', 'MAML', 95.8, 0.3, 1, 5, TABLE_1_OMNIGLOT),
    _percent('omniglot_20way_5shot', 'MAML', 98.9, 0.2, 5, 5, TABLE_1_OMNIGLOT),
    _percent('miniimagenet_5way_1shot_first_order', 'MAML, first order', 48.07, 1.75, 1, 10, TABLE_1_IMAGENET),
    _percent('miniimagenet_5way_5shot_first_order', 'MAML, first order', 63.15, 0.91, 5, 10, TABLE_1_IMAGENET),
    _percent('miniimagenet_5way_1shot', 'MAML', 48.70, 1.84, 1, 10, TABLE_1_IMAGENET),
    _percent('miniimagenet_5way_5shot', 'MAML', 63.11, 0.92, 5, 10, TABLE_1_IMAGENET),
    *_errors('sinusoid_10shot', 'MAML', (0.67, 0.38, 0.35)),
    *_errors(PRETRAINED, 'pretrained on all tasks', (2.41, 2.23, 2.19)),
)


def _table(method, source, **cells):
    """The cells of one row of table 1, by experiment: a value, or a value and its interval."""
    pairs = ((name, value if isinstance(value, tuple) else (value, None)) for name, value in cells.items())
    return tuple(_percent(name, method, *pair, shots=int(name.split('way_')[1][0]), step=None, source=source)
                 for name, pair in pairs)


def _omniglot(method, *values):
    names = [f'omniglot_{ways}way_{shots}shot' for ways in (5, 20) for shots in (1, 5)]
    return _table(method, TABLE_1_OMNIGLOT, **dict(zip(names, values)))


def _imagenet(method, one_shot, five_shot):
    return _table(method, TABLE_1_IMAGENET, miniimagenet_5way_1shot=one_shot, miniimagenet_5way_5shot=five_shot)


# What the paper compares with: context, never measured here.
OTHER_METHODS = (
    *_table('MANN, no conv', TABLE_1_OMNIGLOT, omniglot_5way_1shot_dense=82.8, omniglot_5way_5shot_dense=94.9),
    *_omniglot('Siamese nets', 97.3, 98.4, 88.2, 97.0),
    *_omniglot('matching nets', 98.1, 98.9, 93.8, 98.5),
    *_omniglot('neural statistician', 98.1, 99.5, 93.2, 98.1),
    *_omniglot('memory module', 98.4, 99.6, 95.0, 98.6),
    *_imagenet('fine-tuning baseline', (28.86, 0.54), (49.79, 0.79)),
    *_imagenet('nearest-neighbour baseline', (41.08, 0.70), (51.04, 0.65)),
    *_imagenet('matching nets', (43.56, 0.84), (55.31, 0.73)),
    *_imagenet('meta-learner LSTM', (43.44, 0.77), (60.60, 0.71)),
    *_errors('sinusoid_10shot', 'multi-task, no regularisation', (4.19, 3.85, 3.69)),
    *_errors('sinusoid_10shot', 'multi-task, l2', (7.18, 5.69, 5.60)),
    *_errors('sinusoid_10shot', 'multi-task, regularised to the mean', (2.91, 2.72, 2.71)),
)

_OMNIGLOT, _IMAGENET = 'python main.py --datasource=omniglot', 'python main.py --datasource=miniimagenet'
COMMANDS = {
    'omniglot_5way_1shot_dense': f'{_OMNIGLOT} --conv=False',
    'omniglot_5way_5shot_dense': f'{_OMNIGLOT} --conv=False --update_batch_size=5',
    'omniglot_5way_1shot': _OMNIGLOT,
    'omniglot_5way_5shot': f'{_OMNIGLOT} --update_batch_size=5',
    'omniglot_20way_1shot': f'{_OMNIGLOT} --num_classes=20',
    'omniglot_20way_5shot': f'{_OMNIGLOT} --num_classes=20 --update_batch_size=5',
    'miniimagenet_5way_1shot_first_order': f'{_IMAGENET} --stop_grad',
    'miniimagenet_5way_5shot_first_order': f'{_IMAGENET} --stop_grad --update_batch_size=5',
    'miniimagenet_5way_1shot': _IMAGENET,
    'miniimagenet_5way_5shot': f'{_IMAGENET} --update_batch_size=5',
    'sinusoid_10shot': 'python main.py --datasource=sinusoid',
    PRETRAINED: 'python main.py --datasource=sinusoid --pretrain_iterations=70000 --metatrain_iterations=0',
    ORACLE: 'python main.py --datasource=sinusoid --baseline=oracle',
}


def find_all(experiment, shots=None, step=None):
    """Tuple of MAML's published cells of an experiment, in the order of steps; empty where the paper has none.

    shots and step narrow the choice; None leaves it open.
    """
    return tuple(cell for cell in MAML_CELLS if cell.experiment == experiment
                 and shots in (None, cell.shots) and step in (None, cell.step))


def find(experiment, shots=None, step=None):
    """The published cell a run is compared with, or None: the first of `find_all`."""
    return next(iter(find_all(experiment, shots, step)), None)


# Sets of images that stand in for a published one, in its format: trained alike, never beside its published number.
STAND_INS = {'tiny_imagenet': 'miniimagenet', 'miniimagenet_variant': 'miniimagenet'}
_TITLES = {'miniimagenet': 'miniImagenet', 'tiny_imagenet': 'Tiny-ImageNet stand-in',
           'miniimagenet_variant': 'images in place of miniImagenet'}


def _parts(experiment):
    """('tiny_imagenet', '5way_1shot_first_order') of 'tiny_imagenet_5way_1shot_first_order'."""
    match = re.fullmatch(r'(.+?)_((?:\d+way_)?\d+shot.*)', experiment)
    return match.groups() if match else (experiment, '')


def iterations(experiment):
    """Training iterations behind the published number: [P] A.1 for the images, authors' main.py for the sinusoid.

    For a stand-in, those of what it stands for. None for an experiment that is not in the paper.
    """
    data, settings = _parts(experiment)
    if f'{STAND_INS.get(data, data)}_{settings}' not in COMMANDS:
        return None
    return 70_000 if data == 'sinusoid' else 60_000


def title(experiment):
    """A readable name: 'omniglot_5way_1shot_dense' gives 'Omniglot, 5-way 1-shot, no conv'."""
    data, settings = _parts(experiment)
    words = settings.split('_')
    numbers = [word.replace('way', '-way').replace('shot', '-shot') for word in words
               if word[:1].isdigit() and word.endswith(('way', 'shot'))]
    rest = ' '.join(word for word in words if word[:1].isalpha())
    own = data.removeprefix('folder_').replace('_', ' ')
    data = _TITLES.get(data, own if data.startswith('folder_') else own.capitalize())
    return ', '.join(part for part in (data, ' '.join(numbers), rest.replace('dense', 'no conv')) if part)
