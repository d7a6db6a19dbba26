terraform {
  required_version = ">= 1.5"
  required_providers {
    aws = {
      source  = "hashicorp/aws"
      version = "~> 5.0"
    }
  }
}

# No endpoints block: AWS_ENDPOINT_URL alone decides whether this goes to Cumulo or to AWS.
provider "aws" {
  region = var.region

  default_tags {
    tags = {
      Project     = "observatory"
      Environment = var.environment
    }
  }
}
