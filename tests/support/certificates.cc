#include "tests/support/certificates.h"

#include <openssl/bio.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>

#include <random>

#include "engine/base/check.h"

namespace baton::testing {
namespace {

template <typename Write>
std::string Pem(const Write& write) {
  const std::unique_ptr<BIO, decltype(&BIO_free)> out(BIO_new(BIO_s_mem()), &BIO_free);
  BATON_CHECK(write(out.get()) == 1);
  char* text = nullptr;
  const long size = BIO_get_mem_data(out.get(), &text);
  return std::string(text, static_cast<size_t>(size));
}

std::string Pem(X509* certificate) {
  return Pem([&](BIO* out) { return PEM_write_bio_X509(out, certificate); });
}

void SetName(X509_NAME* name, const std::string& text) {
  BATON_CHECK(X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                         reinterpret_cast<const unsigned char*>(text.data()),
                                         static_cast<int>(text.size()), -1, 0) == 1);
}

void AddExtension(X509* certificate, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx_nodb(&context);
  X509V3_set_ctx(&context, certificate, certificate, nullptr, nullptr, 0);
  X509_EXTENSION* extension = X509V3_EXT_conf_nid(nullptr, &context, nid, value);
  BATON_CHECK(extension != nullptr);
  BATON_CHECK(X509_add_ext(certificate, extension, -1) == 1);
  X509_EXTENSION_free(extension);
}

}  // namespace

CertificateAuthority::CertificateAuthority(const std::string& name)
    : name_(name),
      key_(EVP_EC_gen("P-256"), &EVP_PKEY_free),
      pem_(Pem(Make(name, key_.get(), /*authority=*/true).get())) {}

Identity CertificateAuthority::Issue(const std::string& name) const {
  const Key key(EVP_EC_gen("P-256"), &EVP_PKEY_free);
  const auto write_key = [&](BIO* out) {
    return PEM_write_bio_PrivateKey(out, key.get(), nullptr, nullptr, 0, nullptr, nullptr);
  };
  return {Pem(Make(name, key.get(), /*authority=*/false).get()), Pem(write_key)};
}

CertificateAuthority::Certificate CertificateAuthority::Make(const std::string& name, EVP_PKEY* key,
                                                             bool authority) const {
  constexpr long kHour = 3600;
  Certificate certificate(X509_new(), &X509_free);
  X509* const raw = certificate.get();
  X509_set_version(raw, X509_VERSION_3);
  // No two of one authority may have the same number.
  ASN1_INTEGER_set(X509_get_serialNumber(raw), static_cast<long>(std::random_device()() >> 1));
  X509_gmtime_adj(X509_getm_notBefore(raw), -kHour);
  X509_gmtime_adj(X509_getm_notAfter(raw), kHour);
  X509_set_pubkey(raw, key);
  SetName(X509_get_subject_name(raw), name);
  SetName(X509_get_issuer_name(raw), name_);
  AddExtension(raw, NID_basic_constraints, authority ? "critical,CA:TRUE" : "CA:FALSE");
  if (!authority) AddExtension(raw, NID_subject_alt_name, "IP:127.0.0.1,DNS:localhost");
  BATON_CHECK(X509_sign(raw, key_.get(), EVP_sha256()) > 0);
  return certificate;
}

}  // namespace baton::testing
