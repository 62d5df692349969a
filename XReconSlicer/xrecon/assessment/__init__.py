"""How good models are on CTs that they have not seen: `xrecon evaluate`, and the cards that it writes.

cases            a CT's radiographs and truth, as scanned and with synthetic pneumothorax, stored
reconstructions  what is measured of a reconstruction model on a case, and the controls
segmentations    what is measured of a lung or segmentation model on a CT
trust            lesion preservation and calibration, for the card
run              every model on every case, one after the other, restartable
table, page      Markdown, CSV, plots and pictures
record           figures into card.json, MODEL_CARD.md and the picture of the worst case
card_page        a card as text for people; readme: the bundled models' table of the README
"""
