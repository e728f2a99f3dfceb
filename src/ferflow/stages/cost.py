"""Stage cost: parameters, multiplications and speed of every network and of the ensemble, all in one run.

It reads networks and no face; how they are timed is known to ``ferflow.cost``.
"""

from ferflow import params
from ferflow.combiners import Combination
from ferflow.cost import gmac, timed
from ferflow.model import EnsembleNetwork
from ferflow.released import load_ensemble, load_network
from ferflow.stages import COST, ENSEMBLE, MEMBERS, STUDENTS, Summary, main, read_json, write_json
from ferflow.vocabulary import TASKS


def run() -> Summary:
    """Write ``reports/cost.json``: a network -> parameters, gmac (of one face), ms (one face alone), fps (in batches of 32).

    Times are of this machine at this moment; they compare the networks of one run.
    """
    settings = params.load()
    networks: dict[str, EnsembleNetwork] = {}
    for name, member in settings.networks.items():
        alone = load_network(member, (MEMBERS if name in settings.members else STUDENTS) / name)
        tasks = [task for task in alone.heads if not TASKS[task].auxiliary]
        networks[name] = EnsembleNetwork([alone], {task: Combination([1.0]) for task in tasks}).eval()
    ensemble = read_json(ENSEMBLE / "ensemble.json")
    networks["ensemble"] = load_ensemble(ensemble, settings.members, MEMBERS)
    size, found = settings.dataset.image_size, {}
    speeds = timed(networks, size)
    for name, network in networks.items():
        parameters = sum(parameter.numel() for parameter in network.parameters())
        if name == "ensemble":
            parameters = ensemble["card"]["parameters"]
        found[name] = {"parameters": parameters, "gmac": round(gmac(network, size), 6), **speeds[name]}
    write_json(found, COST)
    return Summary("cost, on this machine's CPU", [{"network": name, **values} for name, values in found.items()])


if __name__ == "__main__":
    main(run)
