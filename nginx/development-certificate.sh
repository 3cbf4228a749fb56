#!/bin/sh
# Make the development certificate, signed by an authority of this stack alone, unless it is there and good for a month.
#
# `make ca` hands out the authority's certificate. It may only sign for names that never leave this machine.
set -eu
umask 027
cd /etc/nginx/tls

names="DNS:localhost,DNS:nginx,IP:127.0.0.1,IP:0:0:0:0:0:0:0:1"

if [ ! -s ca.key ] || ! openssl x509 -in ca.pem -noout -checkend 31536000 >/dev/null 2>&1; then
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 3650 -keyout ca.key -out ca.pem \
        -subj "/CN=Todo development CA $(date +%s)" \
        -addext "basicConstraints=critical,CA:TRUE,pathlen:0" -addext "keyUsage=critical,keyCertSign,cRLSign" \
        -addext "nameConstraints=critical,permitted;DNS:localhost,permitted;DNS:nginx,permitted;IP:127.0.0.0/255.0.0.0,permitted;IP:0:0:0:0:0:0:0:1/ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff" \
        2>/dev/null
    chmod 600 ca.key
    rm -f fullchain.pem
fi
if openssl x509 -in fullchain.pem -noout -checkend 2592000 >/dev/null 2>&1; then
    echo "The development certificate is good for another month at least."
    exit 0
fi
openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout privkey.new -subj "/CN=localhost" 2>/dev/null |
    openssl x509 -req -CA ca.pem -CAkey ca.key -days 365 -out fullchain.new -extfile /dev/fd/3 3<<EXTENSIONS 2>/dev/null
subjectAltName=$names
basicConstraints=critical,CA:FALSE
keyUsage=critical,digitalSignature
extendedKeyUsage=serverAuth
subjectKeyIdentifier=hash
authorityKeyIdentifier=keyid
EXTENSIONS
chmod 640 privkey.new
mv privkey.new privkey.pem
mv fullchain.new fullchain.pem
echo "Made a development certificate for $names."
