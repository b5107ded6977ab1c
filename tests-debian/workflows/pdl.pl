#!/usr/bin/perl
# PDL::IO::HDF5: groups, datasets of several types, text, attributes and slabs.
use strict;
use warnings;
use PDL;
use PDL::Char;
use PDL::IO::HDF5;

my $file = PDL::IO::HDF5->new(">p.h5") or die "cannot make p.h5";
$file->attrSet(title => "a file", number => 5);
my $group = $file->group("group");
$group->dataset("cube")->set(sequence(double, 4, 3, 2));
$group->dataset("bytes")->set(byte(1, 2, 255));
$group->dataset("long")->set(long(-1, 2, 3));
$group->dataset("texts")->set(PDL::Char->new([["one", "two"], ["three", "four"]]));
$group->dataset("cube")->attrSet(unit => "m");
undef $group;
undef $file;

$file = PDL::IO::HDF5->new("p.h5");
print join(",", sort $file->groups), "\n", join(",", sort $file->attrs), "\n";
$group = $file->group("group");
for my $name (sort $group->datasets) {
    my $dataset = $group->dataset($name);
    print "$name ", join("x", $dataset->dims), " ", $dataset->get, "\n";
}
print $group->dataset("cube")->get(pdl(1, 0, 0), pdl(2, 1, 1)), "\n";
print join(",", $group->dataset("cube")->attrGet("unit")), "\n";
