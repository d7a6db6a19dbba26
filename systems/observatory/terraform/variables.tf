variable "region" {
  description = "Region of everything."
  type        = string
  default     = "us-east-1"
}

variable "environment" {
  description = "Name of the deployment; a part of every name."
  type        = string
  default     = "dev"
}

variable "build" {
  description = "Folder with clean.zip, aggregate.zip and the layer's libraries.zip, made by `run build`."
  type        = string
  default     = "../build"
}

variable "raw_retention_days" {
  description = "Days after which raw files go to an archive class."
  type        = number
  default     = 30
}

variable "log_retention_days" {
  description = "Days for which function logs are kept."
  type        = number
  default     = 14
}
