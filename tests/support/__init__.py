"""What tests are built from: servers, folders, disks, fakes."""
