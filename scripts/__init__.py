"""modelshelf: operations of AI services on Google Cloud, from one repository."""
