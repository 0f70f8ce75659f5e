package keyset

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func b64(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// okp, ec and rs write a public key by hand; rest is more members.
func okp(t testing.TB, kid, rest string) string {
	t.Helper()
	pub, _, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	return okpOf(pub, kid, rest)
}

func okpOf(pub []byte, kid, rest string) string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","kid":%q,"x":%q%s}`, kid, b64(pub), rest)
}

func ec(t testing.TB, curve elliptic.Curve, kid string) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	point, err := key.PublicKey.Bytes() // 4, x, y
	if err != nil {
		t.Fatal(err)
	}
	half := len(point) / 2
	return fmt.Sprintf(`{"kty":"EC","crv":%q,"kid":%q,"x":%q,"y":%q}`, curve.Params().Name, kid, b64(point[1:1+half]), b64(point[1+half:]))
}

func rs(t testing.TB, bits int, kid, rest string) string {
	t.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		t.Fatal(err)
	}
	return rsOf(key.N, 65537, kid, rest)
}

func rsOf(n *big.Int, e int64, kid, rest string) string {
	return fmt.Sprintf(`{"kty":"RSA","kid":%q,"n":%q,"e":%q%s}`, kid, b64(n.Bytes()), b64(big.NewInt(e).Bytes()), rest)
}

func set(keys ...string) []byte { return []byte(`{"keys":[` + strings.Join(keys, ",") + `]}`) }

func TestKeysFitTheirAlgorithmsOnly(t *testing.T) {
	keys, passed, err := Parse(set(okp(t, "ed", ""), okp(t, "ed9864", `,"alg":"Ed25519"`), ec(t, elliptic.P256(), "p256"), ec(t, elliptic.P384(), "p384"), ec(t, elliptic.P521(), "p521"),
		rs(t, 2048, "rsa", ""), rs(t, 2048, "ps", `,"alg":"PS384","use":"sig","key_ops":["verify"]`)))
	if err != nil || len(passed) != 0 {
		t.Fatal(err, passed)
	}
	for kid, want := range map[string][]string{
		"ed": {"EdDSA"}, "ed9864": {"EdDSA"}, "p256": {"ES256"}, "p384": {"ES384"}, "p521": {"ES512"},
		"rsa": {"RS256", "RS384", "RS512", "PS256", "PS384", "PS512"}, "ps": {"PS384"},
	} {
		for _, algorithm := range append(Algorithms(), "none", "HS256", "HS512", "") {
			if got := keys[kid].Fits(algorithm); got != slices.Contains(want, algorithm) {
				t.Errorf("%s for %q: %v", kid, algorithm, got)
			}
		}
	}
}

// What is no key to check tokens with is passed over, and said.
func TestKeysPassedOver(t *testing.T) {
	good := okp(t, "good", "")
	n := new(big.Int).Lsh(big.NewInt(1), 2048) // 2049 bits
	odd := new(big.Int).Add(n, big.NewInt(1))
	for name, c := range map[string]struct{ key, want string }{
		"for encryption":      {okp(t, "x", `,"use":"enc"`), "not for signatures"},
		"for signing only":    {okp(t, "x", `,"key_ops":["sign"]`), "not for checking"},
		"key_ops":             {okp(t, "x", `,"key_ops":"verify"`), "key_ops"},
		"symmetric":           {`{"kty":"oct","kid":"x","k":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}`, "type"},
		"unknown type":        {`{"kty":"XYZ","kid":"x"}`, "type"},
		"no type":             {`{"kid":"x"}`, "type"},
		"another curve":       {`{"kty":"OKP","crv":"X25519","kid":"x","x":"` + b64(make([]byte, 32)) + `"}`, ""},
		"another curve of EC": {`{"kty":"EC","crv":"secp256k1","kid":"x","x":"AA","y":"AA"}`, "curve"},
		"private":             {okp(t, "x", `,"d":"AAAA"`), "private"},
		"no id":               {okp(t, "", ""), "kid"},
		"id of another type":  {`{"kty":"OKP","kid":7}`, "kid"},
		"long id":             {okp(t, strings.Repeat("x", maxKeyID+1), ""), "kid"},
		"short":               {okpOf(make([]byte, 31), "x", ""), ""},
		"not on the curve":    {`{"kty":"EC","crv":"P-256","kid":"x","x":"` + b64(make([]byte, 32)) + `","y":"` + b64(make([]byte, 32)) + `"}`, ""},
		"weak":                {rs(t, 1024, "x", ""), "1024 bits"},
		"costly":              {rsOf(new(big.Int).Lsh(odd, 8192), 65537, "x", ""), ""},
		"exponent of 1":       {rsOf(odd, 1, "x", ""), ""},
		"exponent of 2":       {rsOf(odd, 2, "x", ""), "exponent"},
		"costly exponent":     {rsOf(odd, 1<<31+1, "x", ""), "exponent"},
		"even modulus":        {rsOf(n, 65537, "x", ""), "modulus"},
		"alg of another type": {okp(t, "x", `,"alg":"RS256"`), "alg"},
		"alg not used":        {rsOf(odd, 65537, "x", `,"alg":"RSA-OAEP"`), "alg"},
		"alg of secrets":      {rsOf(odd, 65537, "x", `,"alg":"HS256"`), "alg"},
	} {
		keys, passed, err := Parse(set(c.key, good))
		if err != nil || len(keys) != 1 || keys["good"] == nil || len(passed) != 1 || !strings.Contains(passed[0], c.want) {
			t.Errorf("%s: %v %q %v", name, keys, passed, err)
		}
		if _, _, err := Parse(set(c.key)); !errors.Is(err, ErrSet) {
			t.Errorf("%s, alone: %v", name, err)
		}
	}
}

func TestSetsRefused(t *testing.T) {
	good := okp(t, "good", "")
	many := make([]string, maxKeys+1)
	for i := range many {
		many[i] = okp(t, fmt.Sprint(i), "")
	}
	for name, data := range map[string][]byte{
		"nothing":        nil,
		"not JSON":       []byte(`{"keys":[`),
		"not an object":  []byte(`[]`),
		"no keys":        []byte(`{}`),
		"keys not array": []byte(`{"keys":{}}`),
		"empty":          set(),
		"null":           set("null"),
		"an id twice":    set(good, okp(t, "good", "")),
		"the same twice": set(good, good),
		"a member twice": set(`{"kty":"OKP","crv":"Ed25519","kid":"a","kid":"b","x":"` + b64(make([]byte, 32)) + `"}`),
		"keys twice":     []byte(`{"keys":[` + good + `],"keys":[]}`),
		"too many":       set(many...),
		"too long":       append(set(good), []byte(strings.Repeat(" ", maxBytes))...),
		"deep":           []byte(`{"x":` + strings.Repeat("[", 99) + strings.Repeat("]", 99) + `,"keys":[` + good + `]}`),
	} {
		if keys, _, err := Parse(data); !errors.Is(err, ErrSet) {
			t.Errorf("%s: %v, %v", name, keys, err)
		}
	}
	if _, _, err := Parse(set(many[1:]...)); err != nil {
		t.Errorf("as many as there may be: %v", err)
	}
	if keys, _, err := Parse([]byte(`{"issued":1,"keys":[` + strings.TrimSuffix(good, "}") + `,"x5c":["nonsense"],"x5u":"http://192.0.2.1/","nbf":7}]}`)); err != nil || len(keys) != 1 {
		t.Errorf("more members: %v, %v", keys, err)
	}
}

// Whatever a set says: no panic, and every key that comes out of it is strong,
// named, and fits asymmetric algorithms only.
func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"keys":[{"kty":"oct","kid":"x","k":"AAAA"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		keys, passed, err := Parse(data)
		if err != nil {
			if !errors.Is(err, ErrSet) {
				t.Fatalf("error %v", err)
			}
			return
		}
		if len(keys) == 0 || len(keys)+len(passed) > maxKeys {
			t.Fatalf("%d keys, %d passed over", len(keys), len(passed))
		}
		for id, key := range keys {
			if id != key.ID || id == "" || len(id) > maxKeyID || len(key.algorithms) == 0 {
				t.Fatalf("%q: %+v", id, key)
			}
			for _, algorithm := range key.algorithms {
				if !slices.Contains(Algorithms(), algorithm) {
					t.Fatalf("fits %q", algorithm)
				}
			}
			switch public := key.Public.(type) {
			case ed25519.PublicKey:
				if len(public) != ed25519.PublicKeySize || !slices.Equal(key.algorithms, []string{"EdDSA"}) {
					t.Fatalf("%d bytes for %v", len(public), key.algorithms)
				}
			case *ecdsa.PublicKey:
				if _, err := public.Bytes(); err != nil {
					t.Fatal(err)
				}
			case *rsa.PublicKey:
				if public.N.BitLen() < rsaMinBits || public.N.BitLen() > rsaMaxBits {
					t.Fatalf("%d bits", public.N.BitLen())
				}
			default:
				t.Fatalf("a %T", public)
			}
		}
		again, _, err := Parse(data)
		if err != nil {
			t.Fatal(err)
		}
		again.adopt(keys)
		for id, key := range again {
			if key != keys[id] {
				t.Fatalf("read again, %q is another key", id)
			}
		}
	})
}
