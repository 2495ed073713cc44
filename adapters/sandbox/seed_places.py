"""Towns of the eighteen regions (TRE_R30), and names: what made-up people are made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Town:
    name: str
    postcode: str
    insee: str  # as in the INS: digits 6 to 10

    @property
    def department(self) -> str:
        return self.insee[:3] if self.insee.startswith("97") else self.insee[:2]


def _towns(*listed: tuple[str, str, str]) -> tuple[Town, ...]:
    return tuple(Town(*town) for town in listed)


TOWNS: Final[Mapping[str, tuple[Town, ...]]] = {
    "01": _towns(
        ("Les Abymes", "97139", "97101"),
        ("Basse-Terre", "97100", "97105"),
        ("Pointe-à-Pitre", "97110", "97120"),
    ),
    "02": _towns(
        ("Fort-de-France", "97200", "97209"),
        ("Le Lamentin", "97232", "97213"),
        ("Schœlcher", "97233", "97229"),
    ),
    "03": _towns(
        ("Cayenne", "97300", "97302"),
        ("Kourou", "97310", "97304"),
        ("Saint-Laurent-du-Maroni", "97320", "97311"),
    ),
    "04": _towns(
        ("Saint-Denis", "97400", "97411"),
        ("Saint-Paul", "97460", "97415"),
        ("Saint-Pierre", "97410", "97416"),
    ),
    "06": _towns(
        ("Mamoudzou", "97600", "97611"), ("Koungou", "97690", "97610"), ("Dzaoudzi", "97615", "97608")
    ),
    "11": _towns(
        ("Paris", "75013", "75113"),
        ("Boulogne-Billancourt", "92100", "92012"),
        ("Versailles", "78000", "78646"),
    ),
    "24": _towns(("Orléans", "45000", "45234"), ("Tours", "37000", "37261"), ("Bourges", "18000", "18033")),
    "27": _towns(("Dijon", "21000", "21231"), ("Besançon", "25000", "25056"), ("Nevers", "58000", "58194")),
    "28": _towns(("Rouen", "76000", "76540"), ("Caen", "14000", "14118"), ("Évreux", "27000", "27229")),
    "32": _towns(("Lille", "59000", "59350"), ("Amiens", "80000", "80021"), ("Tourcoing", "59200", "59599")),
    "44": _towns(("Strasbourg", "67000", "67482"), ("Nancy", "54000", "54395"), ("Reims", "51100", "51454")),
    "52": _towns(("Nantes", "44000", "44109"), ("Angers", "49000", "49007"), ("Le Mans", "72000", "72181")),
    "53": _towns(("Rennes", "35000", "35238"), ("Brest", "29200", "29019"), ("Vannes", "56000", "56260")),
    "75": _towns(("Bordeaux", "33000", "33063"), ("Limoges", "87000", "87085"), ("Pau", "64000", "64445")),
    "76": _towns(
        ("Toulouse", "31000", "31555"), ("Montpellier", "34000", "34172"), ("Nîmes", "30000", "30189")
    ),
    "84": _towns(
        ("Lyon", "69003", "69383"), ("Grenoble", "38000", "38185"), ("Saint-Étienne", "42000", "42218")
    ),
    "93": _towns(("Marseille", "13001", "13201"), ("Nice", "06000", "06088"), ("Toulon", "83000", "83137")),
    "94": _towns(("Ajaccio", "20000", "2A004"), ("Bastia", "20200", "2B033"), ("Corte", "20250", "2B096")),
}

STREETS: Final = (
    "rue des Lilas",
    "rue du Moulin",
    "avenue de la République",
    "place de l'Église",
    "rue Victor Hugo",
    "chemin des Écoliers",
    "boulevard de la Liberté",
    "impasse du Verger",
)

FAMILIES: Final = (
    "Martin", "Bernard", "Le Goff", "Petit", "Durand", "Lefèvre", "Moreau", "Garnier", "Rousseau",
    "Chevalier",
    "Blanchard", "Guérin", "Fontaine", "Mercier", "Dupont", "Caron", "Le Roux", "Bœuf", "Girard", "Casanova",
    "Hoarau", "Payet", "Schmitt", "Meyer", "Etcheverry", "D'Angelo", "Morvan", "Tanguy", "Léger", "Vasseur",
)  # fmt: skip
WOMEN: Final = (
    "Marie", "Jeanne", "Chloé", "Anne-Laure", "Zoé", "Hélène", "Françoise", "Léa", "Inès", "Yvonne", "Solène",
    "Béatrice", "Camille", "Manon", "Odile",
)  # fmt: skip
MEN: Final = (
    "Jean", "Pierre", "André", "Loïc", "Jean-Baptiste", "Hugo", "François", "Yann", "Rémi", "Étienne", "Gaël",
    "Michel", "Ange", "Noël", "Théo",
)  # fmt: skip
