#!/usr/bin/octave-cli --no-init-file
% Octave's save and load in HDF5: every type of variable, compressed, and in single precision.
a = reshape (1:24, 2, 3, 4);
b = [1+2i, 3-4i];
c = {"text", [1 2 3]; int8(5), {true, "inner"}};
s.name = "a structure"; s.values = (1:5)'; s.deep.x = single (1.5);
t(1).k = 1; t(2).k = [2 3];
u = uint16 ([1 2; 3 65535]);
n = sparse ([1 3], [2 1], [5 6], 3, 3);
l = [true false; false true];
e = [];
h = "a line";
m = ["ab"; "cd"];
d = 1:2:9;
i = int64 (9007199254740993);
f = [NaN Inf -Inf];
save ("-hdf5", "all.h5", "a", "b", "c", "s", "t", "u", "n", "l", "e", "h", "m", "d", "i", "f");
later = magic (4);
save ("-hdf5", "-zip", "packed.h5", "later");
save ("-float-hdf5", "short.h5", "later");
clear all
load ("all.h5");
whos_line_format ("  %la:5; %ln:6; %cs:16:6:1;  %rb:12;  %lc:-1;\n");
names = sort (who ());
for k = 1:numel (names)
  printf ("%s: %s %s\n", names{k}, class (eval (names{k})), mat2str (size (eval (names{k}))));
  disp (eval (names{k}));
end
one = load ("all.h5", "s", "u");
disp (fieldnames (one)');
short = load ("short.h5");
disp (short.later);
