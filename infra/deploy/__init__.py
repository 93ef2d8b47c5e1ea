"""The platform in containers: an image, a compose file and a Helm chart (docs/deploy.md)."""
