locals {
  functions = {
    clean = {
      description = "CSV under raw/ to typed Parquet under processed/"
      read        = "raw/*"
      write       = "processed/*"
    }
    aggregate = {
      description = "Parquet under processed/ to aggregates under curated/"
      read        = "processed/*"
      write       = "curated/*"
    }
  }
}

resource "aws_lambda_layer_version" "libraries" {
  layer_name          = "${local.name}-libraries"
  description         = "pandas and pyarrow"
  s3_bucket           = aws_s3_object.libraries.bucket
  s3_key              = aws_s3_object.libraries.key
  source_code_hash    = filebase64sha256("${var.build}/libraries.zip")
  compatible_runtimes = ["python3.11"]
}

resource "aws_cloudwatch_log_group" "function" {
  for_each          = local.functions
  name              = "/aws/lambda/${local.name}-${each.key}"
  retention_in_days = var.log_retention_days
}

resource "aws_iam_role" "function" {
  for_each = local.functions
  name     = "${local.name}-${each.key}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "lambda.amazonaws.com" }
    }]
  })
}

# Each function may read one layer of the lake and write the next, and log to its own group: nothing else.
resource "aws_iam_role_policy" "function" {
  for_each = local.functions
  name     = "lake-and-logs"
  role     = aws_iam_role.function[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "Read"
        Effect   = "Allow"
        Action   = ["s3:GetObject"]
        Resource = "${aws_s3_bucket.lake.arn}/${each.value.read}"
      },
      {
        Sid      = "Write"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "${aws_s3_bucket.lake.arn}/${each.value.write}"
      },
      {
        Sid      = "Log"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "${aws_cloudwatch_log_group.function[each.key].arn}:*"
      },
    ]
  })
}

resource "aws_lambda_function" "function" {
  for_each         = local.functions
  function_name    = "${local.name}-${each.key}"
  description      = each.value.description
  role             = aws_iam_role.function[each.key].arn
  runtime          = "python3.11"
  handler          = "handler.handler"
  filename         = "${var.build}/${each.key}.zip"
  source_code_hash = filebase64sha256("${var.build}/${each.key}.zip")
  layers           = [aws_lambda_layer_version.libraries.arn]
  timeout          = 60
  memory_size      = 1024

  environment {
    variables = {
      LAKE = aws_s3_bucket.lake.id
    }
  }

  depends_on = [aws_iam_role_policy.function, aws_cloudwatch_log_group.function]
}

resource "aws_lambda_permission" "lake" {
  for_each       = local.functions
  statement_id   = "lake-events"
  action         = "lambda:InvokeFunction"
  function_name  = aws_lambda_function.function[each.key].function_name
  principal      = "s3.amazonaws.com"
  source_arn     = aws_s3_bucket.lake.arn
  source_account = data.aws_caller_identity.current.account_id
}

resource "aws_s3_bucket_notification" "lake" {
  bucket = aws_s3_bucket.lake.id

  lambda_function {
    id                  = "clean"
    lambda_function_arn = aws_lambda_function.function["clean"].arn
    events              = ["s3:ObjectCreated:*"]
    filter_prefix       = "raw/"
    filter_suffix       = ".csv"
  }

  lambda_function {
    id                  = "aggregate"
    lambda_function_arn = aws_lambda_function.function["aggregate"].arn
    events              = ["s3:ObjectCreated:*"]
    filter_prefix       = "processed/"
    filter_suffix       = ".parquet"
  }

  depends_on = [aws_lambda_permission.lake]
}
