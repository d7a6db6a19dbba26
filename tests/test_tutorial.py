"""The command lines of a LocalStack course, as its readers type them, against port 4566."""
import json
import os
import socket
import subprocess
import sys
import textwrap

import pytest
from conftest import wait_for

CSV = "Fecha,Categoria,Monto\n2024-01-01,libros,10.5\n2024-01-02,musica,\n2024-01-03,libros,4.5\n"
FUNCTION = textwrap.dedent('''
    import boto3, csv, io, json
    s3 = boto3.client('s3', endpoint_url='http://localhost:4566')

    def handler(event, context):
        record = event['Records'][0]
        bucket = record['s3']['bucket']['name']
        key = record['s3']['object']['key']
        print(f"Evento recibido: s3://{bucket}/{key}")
        rows = list(csv.DictReader(io.StringIO(s3.get_object(Bucket=bucket, Key=key)['Body'].read().decode())))
        clean = [r for r in rows if all(r.values())]
        target = 'processed/' + key.split('/')[-1].replace('.csv', '.json')
        s3.put_object(Bucket=bucket, Key=target, Body=json.dumps(clean))
        return {'statusCode': 200, 'body': json.dumps({'filas': len(clean)})}
''')


@pytest.fixture
def region(make_region):
    with socket.socket() as s:
        if s.connect_ex(("127.0.0.1", 4566)) == 0:
            pytest.fail("port 4566 is in use; these commands are written for it")
    return make_region(port=4566)


def test_buckets_functions_and_logs_by_the_command_line(region, tmp_path):
    (tmp_path / "datos").mkdir()
    (tmp_path / "datos" / "ventas.csv").write_text(CSV)
    env = dict(region.env())
    del env["AWS_ENDPOINT_URL"]

    def awslocal(*args):
        done = subprocess.run([sys.executable, "-m", "awscli", "--endpoint-url=http://localhost:4566", *args],
                              cwd=tmp_path, env=env, text=True, capture_output=True, timeout=120)
        assert done.returncode == 0, f"{args}: {done.stderr}"
        return done.stdout

    assert awslocal("s3", "ls") == ""
    assert awslocal("s3", "mb", "s3://datalake-curso") == "make_bucket: datalake-curso\n"
    assert "datalake-curso" in awslocal("s3", "ls")
    awslocal("s3", "cp", "datos/ventas.csv", "s3://datalake-curso/raw/")
    assert "ventas.csv" in awslocal("s3", "ls", "s3://datalake-curso/raw/")
    awslocal("s3", "cp", "s3://datalake-curso/raw/ventas.csv", "descargado.csv")
    assert (tmp_path / "descargado.csv").read_text() == CSV
    awslocal("s3", "sync", "./datos/", "s3://datalake-curso/data/")
    assert "data/ventas.csv" in awslocal("s3", "ls", "--recursive", "s3://datalake-curso/")

    (tmp_path / "procesar_csv.py").write_text(FUNCTION)
    subprocess.run([sys.executable, "-m", "zipfile", "-c", "procesar_csv.zip", "procesar_csv.py"], cwd=tmp_path, check=True)
    awslocal("lambda", "create-function", "--function-name", "procesar-csv", "--runtime", "python3.11",
             "--handler", "procesar_csv.handler", "--role", "arn:aws:iam::000000000000:role/lambda-role",
             "--zip-file", "fileb://procesar_csv.zip", "--timeout", "60", "--memory-size", "256")
    assert "procesar-csv" in awslocal("lambda", "list-functions")
    awslocal("lambda", "add-permission", "--function-name", "procesar-csv", "--statement-id", "s3-trigger",
             "--action", "lambda:InvokeFunction", "--principal", "s3.amazonaws.com",
             "--source-arn", "arn:aws:s3:::datalake-curso")
    awslocal("lambda", "wait", "function-active-v2", "--function-name", "procesar-csv")
    awslocal("s3api", "put-bucket-notification-configuration", "--bucket", "datalake-curso",
             "--notification-configuration", json.dumps({"LambdaFunctionConfigurations": [{
                 "LambdaFunctionArn": "arn:aws:lambda:us-east-1:000000000000:function:procesar-csv",
                 "Events": ["s3:ObjectCreated:*"],
                 "Filter": {"Key": {"FilterRules": [{"Name": "prefix", "Value": "raw/"},
                                                    {"Name": "suffix", "Value": ".csv"}]}}}]}))
    awslocal("s3", "cp", "datos/ventas.csv", "s3://datalake-curso/raw/")
    s3 = region.client("s3")
    wait_for(lambda: s3.list_objects_v2(Bucket="datalake-curso", Prefix="processed/").get("Contents"), 60, "the function")
    assert "ventas.json" in awslocal("s3", "ls", "s3://datalake-curso/processed/")
    assert len(json.load(s3.get_object(Bucket="datalake-curso", Key="processed/ventas.json")["Body"])) == 2

    def logged():
        return "Evento recibido: s3://datalake-curso/raw/ventas.csv" in awslocal(
            "logs", "filter-log-events", "--log-group-name", "/aws/lambda/procesar-csv")
    wait_for(logged, 60, "the log")
    assert os.path.exists(tmp_path / "descargado.csv")
