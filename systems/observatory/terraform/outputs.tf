output "lake" {
  description = "Bucket of the lake."
  value       = aws_s3_bucket.lake.id
}

output "functions" {
  description = "Names of the functions."
  value       = { for key, function in aws_lambda_function.function : key => function.function_name }
}

output "log_groups" {
  description = "Log groups of the functions."
  value       = { for key, group in aws_cloudwatch_log_group.function : key => group.name }
}
