#!/usr/bin/env python3
"""Reads every CSV file that `top5 eval` writes with pandas, without arguments, and compares it with the report beside it.

    python3 -m venv venv && venv/bin/pip install pandas
    venv/bin/python scripts/report.py target/release/top5 DIR

DIR is made and gets the reports of two evaluations of the embedded LeNet: of the digits, and of a folder whose classes have commas
and quotation marks in their names. The exit status is 0 if pandas reads what was meant.
"""

import io
import json
import pathlib
import subprocess
import sys

import pandas

top5, folder = sys.argv[1], pathlib.Path(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)
odd = ['0', '1', '2', 'three, "3"', '4', '5', '6', "7 | l'autre", '8', '9']
(folder / 'names.json').write_text(json.dumps(odd), encoding='utf-8')
for name in (odd[3], odd[7]):
    for i in range(3):
        file = folder / 'data' / name / f'a, "{i}".pgm'
        file.parent.mkdir(parents=True, exist_ok=True)
        bars = bytes(255 if (x - i) % 9 < 3 else 0 for _ in range(28) for x in range(28))
        file.write_bytes(b'P5 28 28 255\n' + bars)

given = ['--data', str(folder / 'data'), '--split', 'all', '--class-names', str(folder / 'names.json')]
for name, arguments, images in (('digits', [], 400), ('odd', given, 6)):
    report = folder / name
    run = lambda *more: subprocess.run([top5, 'eval', 'lenet', '-q', *arguments, *more], check=True, capture_output=True, text=True)
    run('--report', str(report), '--force')
    numbers = json.loads((report / 'report.json').read_text(encoding='utf-8'))
    assert numbers['images'] == images
    predictions = pandas.read_csv(report / 'predictions.csv')
    assert len(predictions) == images and predictions.index.equals(pandas.RangeIndex(images))
    assert not any(column.startswith('Unnamed') for column in predictions.columns)
    assert (predictions['rank'] == 1).sum() == numbers['top1_right']
    assert abs(predictions['loss'].mean() - numbers['loss']) < 1e-5
    known = {one['class'] for one in numbers['per_class'] if one['images']}
    assert set(predictions['class'].astype(str)) == known, known
    errors = pandas.read_csv(report / 'errors.csv')
    assert len(errors) == images - numbers['top1_right'] and errors['kind'].isna().all()
    table = pandas.read_csv(io.StringIO(run('--csv').stdout))
    assert list(table.columns)[:3] == ['model', 'img_size', 'top1'] and abs(table['top1'][0] - numbers['top1']) < 1e-3
    print(name, 'predictions.csv, errors.csv and --csv are read')
