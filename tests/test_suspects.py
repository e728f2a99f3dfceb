import numpy as np
import pytest

from ferflow.suspects import cross_validated, find

CLASSES = ("happy", "sad", "fear")


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(0)
    truth = np.arange(600) % 3
    features = rng.normal(0, 1, (600, 8)) + 3 * np.eye(8)[truth]
    wrong = rng.choice(600, 30, replace=False)
    labels = truth.copy()
    labels[wrong] = (labels[wrong] + 1) % 3
    return features, truth, labels, set(wrong.tolist())


def test_wrong_labels_are_found_and_the_right_ones_suggested(data):
    features, truth, labels, wrong = data
    probabilities = cross_validated(features, labels, np.arange(600), folds=5, seed=0)
    assert probabilities.sum(axis=1) == pytest.approx(np.ones(600))
    table = find([str(i) for i in range(600)], labels, probabilities, CLASSES)
    found = [int(i) for i in table["id"]]
    assert len(wrong & set(found)) >= 0.8 * len(wrong)
    assert len(set(found) - wrong) <= 0.5 * len(wrong)
    assert table["quality"].is_monotonic_increasing
    hits = [i for i in found if i in wrong]
    right = table.set_index("id").loc[[str(i) for i in hits], "suggested"].tolist()
    assert np.mean([name == CLASSES[truth[i]] for name, i in zip(right, hits, strict=True)]) > 0.9


def test_alike_faces_are_never_predicted_by_each_other():
    rng = np.random.default_rng(0)
    features = np.repeat(rng.normal(0, 1, (60, 8)), 2, axis=0)  # each face twice
    labels = np.repeat(rng.integers(0, 2, 60), 2)  # labels without any meaning
    groups = np.repeat(np.arange(60), 2)
    hit = cross_validated(features, labels, groups, 5, 0).argmax(axis=1) == labels
    assert hit.mean() < 0.65, "nothing can be learned, unless a twin gives the label away"


def test_too_few_faces_of_a_class_are_named():
    with pytest.raises(ValueError, match="too few faces"):
        cross_validated(np.eye(6), np.array([0, 0, 0, 0, 0, 1]), np.arange(6), 3, 0)
